"""Tiny deterministic networks with the heads that occur in practice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stages.classes import imagenet_classes
from stages.classify.network import Network, Preprocess

CLASSES = 7


class GapLinear(nn.Module):
    """Convolutions, GAP, one linear layer: ResNet's kind of head."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class FlattenHead(nn.Module):
    """Convolutions, pooling, a perceptron on the flattened map: VGG's kind of head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 4, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.pool = nn.AdaptiveAvgPool2d(3)
        self.classifier = nn.Sequential(nn.Linear(54, 10), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(10, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


def seeded(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network with weights that depend on the seed alone, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory().eval()


def tiny_network() -> Network:
    """A network of 32 pixels and 7 named classes, for ``python:tests.stages.toys:tiny_network``."""
    module = seeded(GapLinear)
    return Network(module, [f"class {index}" for index in range(CLASSES)], Preprocess(size=32))


class Gated(GapLinear):
    """Squeeze and excitation: activations times a gate that depends on them."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        return self.fc((maps * maps.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))


def gated_network() -> Network:
    """For ``python:tests.stages.toys:gated_network``."""
    return Network(seeded(Gated), preprocess=Preprocess(size=32))


def thousand_classes() -> Network:
    """ImageNet's classes on 64 pixels, knowing nothing, for ``python:tests.stages.toys:thousand_classes``."""
    module = seeded(lambda: GapLinear(1000))
    return Network(module, imagenet_classes(), Preprocess(size=64))
