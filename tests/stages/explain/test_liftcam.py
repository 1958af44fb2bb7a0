"""DeepLIFT's contributions against loops and against the property that defines them: they add up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import ConfigurationError
from stages.explain.methods.liftcam import check_complete, contributions
from stages.explain.registry import get_explainer
from stages.trace.cut import CutNetwork
from tests.stages.explain.test_fullgrad import Normed, Residual
from tests.stages.toys import CLASSES, FlattenHead, GapLinear, seeded


class Deep(nn.Module):
    """Behind the explained layer: biases, so that silence is not silent any more, two pools, curved activations."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, 2, 1)
        self.deeper = nn.Sequential(
            *(nn.Conv2d(4, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.SiLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
            *(nn.Conv2d(6, 6, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(96, 10), nn.Hardswish(inplace=True), nn.Dropout(), nn.Linear(10, CLASSES)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.deeper(self.features(x))


class Gated(Deep):
    """One part of the map times another."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.deeper(x * x.mean((2, 3), keepdim=True).sigmoid())


def trace(factory, layer):
    module = seeded(factory).requires_grad_(False)
    cut = CutNetwork(module, [layer], 32)
    module.double()
    noise = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return cut.trace(noise)


@pytest.mark.parametrize(
    ("factory", "layer"),
    [(Deep, "features"), (FlattenHead, "features.2"), (Residual, "stem"), (GapLinear, "features.0")],
)
def test_contributions_add_up_to_the_difference(factory, layer):
    seen = trace(factory, layer)
    check_complete(seen)
    for image in range(2):
        maps = seen.activations[image].detach()
        heard, silent = seen.decide(image, torch.stack([maps, torch.zeros_like(maps)]))
        shares = contributions(seen, image, maps, torch.tensor([0, 4]))
        torch.testing.assert_close(shares.sum((1, 2, 3)), (heard - silent)[[0, 4]], rtol=1e-9, atol=1e-12)
        assert shares.abs().amax() > 1e-3 and shares.shape[1:] == seen.activations.shape[1:]


class Statement(Deep):
    """An in-place ReLU whose value nobody takes: what replaces its derivative never reaches the network."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x) - 0.3
        F.relu(x, inplace=True)
        return self.deeper(x)


@pytest.mark.parametrize("factory", [Gated, Normed, Statement], ids=["gate", "layer norm", "statement"])
def test_what_is_not_covered_is_refused(factory):
    layer = "stem" if factory is Normed else "features"
    with pytest.raises(ConfigurationError, match="liftcam cannot explain this network at this layer"):
        check_complete(trace(factory, layer))


def test_the_rescale_rule_written_with_loops():
    seen = trace(FlattenHead, "features.2")
    module = seen.network.module
    first, last = module.classifier[0], module.classifier[3]
    found = get_explainer("liftcam", False).function(seen, torch.tensor([2, 5])).detach()
    for image, target in enumerate((2, 5)):
        maps = seen.activations[image].detach()
        pooled = F.max_pool2d(maps, 2)  # 4 x 4, of values >= 0, so that silence's maximum never exceeds it
        cells = module.pool(pooled[None]).flatten()
        z, silent = F.linear(cells, first.weight, first.bias), first.bias
        expected = torch.zeros_like(maps[0])
        for k in range(len(maps)):
            share = 0.0
            alone = torch.zeros_like(pooled)
            alone[k] = pooled[k]
            part = module.pool(alone[None]).flatten()  # what the channel gives to every cell of the perceptron
            for unit in range(10):
                run = z[unit] - silent[unit]
                slope = (z[unit].relu() - silent[unit].relu()) / run
                share += last.weight[target, unit] * slope * (first.weight[unit] @ part)
            expected += share * maps[k]
        torch.testing.assert_close(found[image], expected)


def test_a_maximum_is_shared_between_its_place_and_the_one_of_silence():
    """max(1, 7) against max(5, 3): the first exceeds the other by 2, at its second value, which rose by 4."""
    from stages.explain.methods.liftcam import _Rescaled

    pair = torch.tensor([[[[1.0, 7.0]]], [[[5.0, 3.0]]]]).requires_grad_()
    with _Rescaled():
        out = F.max_pool2d(pair, (1, 2))
    assert out.flatten().tolist() == [7, 5]
    assert torch.autograd.grad(out[0].sum(), pair)[0][0].flatten().tolist() == [0, 0.5]
    lower = pair.detach().flip(0).requires_grad_()
    with _Rescaled():
        out = F.max_pool2d(lower, (1, 2))
    assert torch.autograd.grad(out[0].sum(), lower)[0][0].flatten().tolist() == [0, 0.5]
