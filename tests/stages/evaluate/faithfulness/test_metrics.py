"""Every metric against the slow reference, against closed forms, and alone against in a batch."""

from __future__ import annotations

import math
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError
from stages.evaluate import faithfulness
from stages.evaluate.faithfulness import curves, registry, road
from stages.evaluate.faithfulness.explained import Explained, saliency
from stages.evaluate.faithfulness.registry import METRICS, get_metric, metrics
from stages.explain.methods.gradcam import gradcam
from stages.trace.cut import CutNetwork
from tests.stages.evaluate.faithfulness import slow
from tests.stages.toys import FlattenHead, GapLinear, seeded

SIZE = 16
COUNT = 2
DROPS = ("average_drop", "increase", "average_gain")
PARTS = ("coherency", "complexity", "adcc")


def subject(network: CutNetwork, inputs: Tensor, maps: Tensor | None = None, rows: slice = slice(None)) -> Explained:
    """The images explained by Grad-CAM for their first prediction, or by the given maps."""
    trace = network.trace(inputs)
    target = trace.logits.argmax(1)
    found = gradcam(trace, target).detach() if maps is None else maps
    return Explained(
        inputs[rows],
        target[rows],
        found[rows],
        trace.logits.detach().softmax(1).amax(1)[rows],
        network,
        lambda images, classes: gradcam(network.trace(images), classes).detach(),
        list(range(100, 100 + len(inputs)))[rows],
    )


@pytest.fixture(scope="module", params=[GapLinear, FlattenHead])
def network(request) -> CutNetwork:
    module = seeded(request.param).double().requires_grad_(False)
    # Tiny random heads are never sure of anything; this one has something to lose.
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    linear.weight.mul_(30)
    return CutNetwork(module, ["features"], SIZE)


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    blocks = torch.randn(COUNT, 3, 4, 4, generator=generator, dtype=torch.float64).repeat_interleave(4, 2)
    return 2 * blocks.repeat_interleave(4, 3) + 0.3 * torch.randn(COUNT, 3, SIZE, SIZE, generator=generator).double()


@pytest.fixture(scope="module")
def full_maps() -> Tensor:
    """As large as the image, so that the reference's resize changes no bit; halves of them tie."""
    generator = torch.Generator().manual_seed(4)
    return torch.randint(-9, 6, (COUNT, SIZE, SIZE), generator=generator).double() / 4


def predictor(explained: Explained, row: int) -> slow.Predict:
    def predict(image: np.ndarray) -> float:
        logits = explained.network.module(torch.from_numpy(image)[None])
        return float(logits.softmax(1)[0, explained.target[row]])

    return predict


def rows(explained: Explained):
    """Each image, its raw map and what predicts its class."""
    for row, (image, raw) in enumerate(zip(explained.inputs.numpy(), explained.maps.numpy(), strict=True)):
        yield image, raw, predictor(explained, row)


def test_masked_images_against_the_reference(network, inputs):
    explained = subject(network, inputs)
    found = {name: get_metric(name).function(explained).numpy() for name in (*DROPS, *PARTS)}
    for row, (image, raw, predict) in enumerate(rows(explained)):

        def explain(altered: np.ndarray, row: int = row) -> np.ndarray:
            trace = network.trace(torch.from_numpy(altered)[None])
            return gradcam(trace, explained.target[row : row + 1])[0].detach().numpy()

        expected = slow.drop(image, raw, predict) | slow.adcc(image, raw, predict, explain)
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected, abs=1e-10)
    assert 0 < found["average_drop"].max() < 1 and 0 < found["adcc"].max() < 1


def test_curves_against_the_reference(network, inputs, full_maps):
    explained = subject(network, inputs, full_maps)
    deletion, insertion = (get_metric(name).function(explained) for name in ("deletion", "insertion"))
    for row, (image, raw, predict) in enumerate(rows(explained)):
        expected = slow.curve(image, np.zeros_like(image), raw, predict, curves.STEPS)
        assert float(deletion[row]) == pytest.approx(expected, abs=1e-10)
        expected = slow.curve(slow.blurred(image), image, raw, predict, curves.STEPS)
        assert float(insertion[row]) == pytest.approx(expected, abs=1e-10)


def test_road_against_a_direct_solver(network, inputs, full_maps):
    explained = subject(network, inputs, full_maps)
    found = get_metric("road").function(explained)
    for row, (image, raw, predict) in enumerate(rows(explained)):
        noise = np.random.default_rng(100 + row).standard_normal(image.shape, np.float32) * road.NOISE
        assert float(found[row]) == pytest.approx(slow.road(image, raw, predict, noise), abs=2e-4)
    assert found.abs().max() > 0.01


@pytest.mark.parametrize("name", sorted(metrics()))
def test_no_value_depends_on_the_other_images(network, inputs, name):
    together = get_metric(name).function(subject(network, inputs))
    alone = [get_metric(name).function(subject(network, inputs, rows=slice(row, row + 1))) for row in range(COUNT)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-12)


def test_the_least_salient_pixels_go_last():
    """Ties by the map before its ReLU, then in reading order."""
    maps = torch.tensor([[[0.0, -2.0], [3.0, -1.0]], [[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    explained = Explained(torch.zeros(2, 3, 2, 2), *([None] * 5), [])  # type: ignore[arg-type]
    explained.maps = maps
    assert explained.rank.tolist() == [[1, 3, 0, 2], [0, 1, 2, 3]]


def test_saliency_of_degenerate_maps():
    maps = torch.stack([torch.full((3, 3), 0.3), torch.full((3, 3), -1.0), torch.zeros(3, 3)])
    assert saliency(maps, 8).amin((1, 2)).tolist() == [1, 0, 0]
    assert saliency(maps, 8).amax((1, 2)).tolist() == [1, 0, 0]


def test_an_unknown_metric_is_refused():
    with pytest.raises(ConfigurationError, match=r"unknown faithfulness metric 'adc'; did you mean adcc\?"):
        get_metric("adc")


def test_the_table_and_the_decorators_name_the_same_metrics():
    files = {one.name for one in iter_modules(faithfulness.__path__)}
    for file in files:
        import_module(f"{faithfulness.__name__}.{file}")
    found = {name: one.function.__module__.rpartition(".")[2] for name, one in registry._METRICS.items()}
    assert found == METRICS


class Pixels(nn.Module):
    """Two classes; the logit of the first is the sum of weighted pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.see = nn.Identity()
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        logit = (self.see(x) * self.weights).sum((1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def linear_subject(logit_map: np.ndarray, raw: np.ndarray) -> Explained:
    """An image of ones on a network whose logit is the sum of ``logit_map`` (S, S) over what is left of it."""
    weights = torch.from_numpy(logit_map)[None].repeat(3, 1, 1) / 3
    module = Pixels(weights)
    inputs = torch.ones(1, *weights.shape, dtype=torch.float64)
    network = CutNetwork(module, ["see"], len(raw))
    return Explained(
        inputs,
        torch.tensor([0]),
        torch.from_numpy(raw)[None],
        network.logits(inputs).softmax(1)[:, 0],
        network,
        lambda images, target: (images * weights).sum(1),
        [0],
    )


def test_a_linear_network_in_closed_form():
    """Evidence of 3 in total on half of the pixels, which the map names exactly, and of -1 on the others."""
    evidence = np.full((SIZE, SIZE), -1 / (SIZE**2 / 2))
    evidence[:, : SIZE // 2] = 3 / (SIZE**2 / 2)
    found = {
        name: float(one.function(linear_subject(evidence, np.maximum(evidence, 0)))) for name, one in metrics().items()
    }
    whole, part = slow.sigmoid(2), slow.sigmoid(3)
    assert found["average_drop"] == 0 and found["increase"] == 1
    assert found["average_gain"] == pytest.approx((part - whole) / (1 - whole))
    assert found["complexity"] == pytest.approx(0.5)
    assert found["coherency"] == pytest.approx(1)
    assert found["adcc"] == pytest.approx(3 / (1 + 2 + 1))

    def mean_sigmoid(a: float, b: float) -> float:
        """Mean of the logistic function between two logits."""
        return (math.log1p(math.exp(b)) - math.log1p(math.exp(a))) / (b - a)

    # Evidence goes from 2 to -1 while the positive half is deleted, then to 0 with the negative one.
    assert found["deletion"] == pytest.approx((mean_sigmoid(2, -1) + mean_sigmoid(-1, 0)) / 2, abs=1e-3)
    # All neighbours are alike, so what is imputed is what was there: but for the noise nothing changes.
    assert found["road"] == pytest.approx(0, abs=1e-3)


def test_a_perfect_and_an_empty_map():
    """All evidence in one pixel of many: a map of it alone is near the best ADCC, an empty map gets 0."""
    evidence = np.zeros((SIZE, SIZE))
    evidence[9, 12] = 4
    perfect = linear_subject(evidence, evidence)
    assert float(get_metric("adcc").function(perfect)) == pytest.approx(3 / (1 + 1 / (1 - 1 / SIZE**2) + 1))
    empty = linear_subject(evidence, np.zeros((SIZE, SIZE)))
    values = {name: float(get_metric(name).function(empty)) for name in (*DROPS, *PARTS)}
    assert values["average_drop"] == pytest.approx((slow.sigmoid(4) - 0.5) / slow.sigmoid(4))
    assert values["coherency"] == values["complexity"] == values["adcc"] == values["increase"] == 0


def test_the_reversed_map_has_the_opposite_road(network, inputs):
    """Most relevant first is least relevant first of the other."""
    maps = torch.randn(2, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, other = (get_metric("road").function(subject(network, inputs, sign * maps)) for sign in (1, -1))
    torch.testing.assert_close(one, -other, rtol=0, atol=1e-12)


def test_blur_is_the_published_kernel(inputs):
    expected = [slow.blurred(image) for image in inputs.numpy()]
    np.testing.assert_allclose(curves.blurred(inputs).numpy(), expected, atol=1e-12)
