"""A network in parts says what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from stages.classify.architectures.lite0 import EfficientNetLite0
from stages.classify.fold import folded
from stages.classify.graph import graph_of
from stages.classify.parts import Parts, parts
from stages.classify.sources import load_network
from stages.classify.stage import Classify
from stages.classify.stem import begins_with
from tests.stages.toys import GapLinear, seeded

SIZE = 64


def ready(name: str) -> nn.Module:
    factory = EfficientNetLite0 if name == "lite0" else lambda: models.get_model(name)
    return folded(seeded(factory).double().requires_grad_(False), [], SIZE)


def largest(found: Parts, size: int) -> tuple[int, int]:
    """The most values that any layer of the early and of the late part gives for one image."""
    most: list[int] = []
    for part in (nn.Sequential(found.stem, found.early), found.late):
        sizes: list[int] = []
        for layer in part.modules():
            if not list(layer.children()):
                layer.register_forward_hook(lambda _m, _i, output, sizes=sizes: sizes.append(output[0].numel()))
        most.append(sizes)
    found.late(found.early(found.stem(torch.zeros(1, 3, size, size).double())))
    return max(most[0]), max(most[1])


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "shufflenet_v2_x0_5", "lite0"])
def test_parts_give_the_networks_logits_and_the_late_one_takes_less_memory(name):
    module = ready(name)
    found = parts(module, SIZE)
    images = torch.randn(3, 3, SIZE, SIZE).double()
    torch.testing.assert_close(found.late(found.early(found.stem(images))), module(images), rtol=0, atol=1e-12)
    early, late = largest(found, SIZE)
    assert early >= 2 * late


def test_most_weights_are_in_the_late_part():
    late = sum(one.numel() for one in parts(ready("resnet18"), 224).late.parameters())
    assert late > 0.8 * sum(one.numel() for one in ready("resnet18").parameters())


def test_parts_follow_the_networks_weights():
    """Sanity checks put noise in the place of what a network has learnt."""
    module = ready("resnet18")
    found, images = parts(module, SIZE), torch.randn(2, 3, SIZE, SIZE).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.9)
    torch.testing.assert_close(found.late(found.early(found.stem(images))), module(images), rtol=0, atol=1e-12)


class Branching(GapLinear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Pretending(GapLinear):
    """Another network for whoever records its graph."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if isinstance(x, Tensor) else 2 * x)


@pytest.mark.parametrize("factory", [Branching, Pretending])
def test_what_has_no_true_graph_stays_whole(factory):
    assert parts(seeded(factory), SIZE) is None


def test_what_a_hook_alters_stays_whole():
    module = seeded(GapLinear)
    assert parts(module, SIZE)
    module.register_forward_hook(lambda _module, _inputs, output: output + 1)
    assert parts(module, SIZE) is None


class Maxout(GapLinear):
    """The smallest result in between is a pair."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.chunk(self.features[0](x), 2, 1)
        return self.fc(torch.cat([torch.maximum(first, second)] * 3, 1).mean((2, 3)))


class Scaled(GapLinear):
    """What is computed of weights alone would be computed once and for all."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.fc.bias.exp().sum())


def test_a_cut_leaves_one_tensor():
    module = seeded(Maxout)
    found, images = parts(module, SIZE), torch.randn(3, 3, SIZE, SIZE)
    torch.testing.assert_close(found.late(found.early(images)), module(images))


def test_what_is_computed_of_weights_follows_them():
    module = seeded(Scaled)
    found, images = parts(module, SIZE), torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        module.fc.bias.add_(1)
    assert found is None or torch.allclose(found.late(found.early(images)), module(images))


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_a_network_without_finite_logits_stays_whole(spoilt):
    module = seeded(GapLinear).requires_grad_(False)
    module.fc.weight[0] = spoilt
    assert parts(module, SIZE) is None


def test_a_network_without_parameters_stays_whole():
    assert parts(nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Softmax(1)), SIZE) is None


@pytest.mark.parametrize(
    ("fold", "precision", "made"), [(True, "fp32", True), (False, "fp32", False), (True, "bf16", False)]
)
def test_the_stage_makes_parts_before_any_image_comes(fold, precision, made):
    """Recording a graph disturbs other threads that run a network; and who changes weights asks the network itself."""
    network = load_network("python:tests.stages.toys:tiny_network")
    stage = Classify("python:tests.stages.toys:tiny_network", network.weights_sha256, "features", 32, "cpu", precision)
    stage.fold = fold
    stage.setup()
    assert (stage.network.parts is not None) == made


class Beside(nn.Module):
    """The images are read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.fc = nn.Sequential(*plain()), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)) + x.mean())


def plain() -> list[nn.Module]:
    return [nn.Conv2d(3, 4, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (plain(), True),
        ([plain()[0], nn.Identity(), *plain()[1:]], True),  # a normalisation that was folded
        ([plain()[0], nn.BatchNorm2d(4), *plain()[1:]], False),
        ([nn.Conv2d(3, 4, 7, 2, 3, padding_mode="reflect"), *plain()[1:]], False),
        ([nn.Conv2d(3, 4, 7, 2, 3, dilation=2), *plain()[1:]], False),
        ([nn.Conv2d(3, 3, 7, 2, 3, groups=3), *plain()[1:]], False),
        ([nn.Conv2d(3, 4, 7, padding="same"), *plain()[1:]], False),
        ([nn.Conv2d(3, 4, (7, 5), 2, 3), *plain()[1:]], False),
        ([plain()[0], nn.ReLU6(), plain()[2]], False),
        ([*plain()[:2], nn.MaxPool2d(3, 2, 1, ceil_mode=True)], False),
        ([*plain()[:2], nn.MaxPool2d(3, 2, dilation=2)], False),
        ([*plain()[:2], nn.AvgPool2d(3, 2, 1)], False),
        ([plain()[0]], False),
    ],
)
def test_stems_are_the_plain_ones(layers, found):
    assert (begins_with(graph_of(nn.Sequential(*layers, nn.Flatten()))) is not None) == found


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_no_stem_where_somebody_alters_a_layer(layer):
    network = nn.Sequential(*plain(), nn.Flatten())
    graph = graph_of(network)
    assert begins_with(graph) is not None
    network[layer].register_forward_hook(lambda _module, _inputs, output: output + 1)
    assert begins_with(graph) is None


def test_no_stem_where_something_else_reads_the_images():
    assert begins_with(graph_of(Beside())) is None
