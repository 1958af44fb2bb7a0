"""A network in parts says what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from stages.classify.cut import CutNetwork
from stages.classify.fold import folded
from stages.classify.graph import graph_of
from stages.classify.lite0 import EfficientNetLite0
from stages.classify.parts import Parts, parts
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
def test_parts_give_the_networks_logits_and_their_ratio_of_memory(name):
    module = ready(name)
    found = parts(module, SIZE)
    images = torch.randn(3, 3, SIZE, SIZE).double()
    torch.testing.assert_close(found.late(found.early(found.stem(images))), module(images), rtol=0, atol=1e-12)
    early, late = largest(found, SIZE)
    assert found.ratio > 1 and early >= found.ratio * late


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


def test_lower_precision_stays_whole():
    module = seeded(GapLinear).requires_grad_(False)
    assert CutNetwork(module, module.features, "features", SIZE).parts is not None
    assert CutNetwork(module, module.features, "features", SIZE, torch.bfloat16).parts is None


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


def test_no_stem_where_something_else_reads_the_images():
    assert begins_with(graph_of(Beside())) is None
