"""Networks on which this project and other libraries explain the same images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.explain.registry import get_explainer
from stages.trace.cut import CutNetwork
from stages.trace.trace import Trace

TARGET = torch.tensor([2, 6])
"""A class for each image."""


@dataclass(frozen=True)
class Case:
    """One network, two images.

    Attributes:
        module: In eval mode, its parameters trainable, as users of the other libraries have it.
        layer: Dotted name of the explained module.
        images: (2, 3, S, S).
        head: What follows the layer, from (M, K, h, w) to (M, C).
        cut: A frozen copy, as this project runs it.
        trace: Its forward pass.
    """

    module: nn.Module
    layer: str
    images: Tensor
    head: Callable[[Tensor], Tensor]
    cut: CutNetwork
    trace: Trace

    @property
    def explained(self) -> nn.Module:
        """The module whose output is explained."""
        return self.module.get_submodule(self.layer)

    def maps(self, name: str) -> Tensor:
        """This project's raw maps, (2, h, w)."""
        return get_explainer(name, self.cut.head is not None).function(self.trace, TARGET).detach()


def case(module: nn.Module, layer: str, images: Tensor, head: Callable[[Tensor], Tensor]) -> Case:
    """The network for both sides, neither sharing a tensor with the other."""
    frozen = copy.deepcopy(module).eval().requires_grad_(False)
    cut = CutNetwork(frozen, [layer], images.shape[3])
    return Case(module.eval().requires_grad_(True), layer, images, head, cut, cut.trace(images))


def noise(side: int) -> Tensor:
    """Two images of noise."""
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(7))


def resnet18() -> Case:
    """GAP + linear, random weights."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    module = resnet18(num_classes=10)
    return case(module, "layer4", noise(96), lambda maps: module.fc(maps.mean((2, 3))))


def vgg11() -> Case:
    """A perceptron on the flattened map, random weights."""
    from torchvision.models import vgg11

    torch.manual_seed(0)
    module = vgg11(num_classes=10, init_weights=False)

    def head(maps: Tensor) -> Tensor:
        return module.classifier(module.avgpool(module.features[20](maps)).flatten(1))

    return case(module, "features.19", noise(96), head)


def lite0() -> Case:
    """GAP + linear, ImageNet weights, two photographs."""
    from skimage import data
    from torchvision.transforms.v2.functional import normalize, resize

    from stages.classify.sources import load_network

    network = load_network("lite0")
    pixels = [
        torch.from_numpy(np.ascontiguousarray(one())).permute(2, 0, 1) / 255 for one in (data.astronaut, data.cat)
    ]
    sized = torch.stack([resize(one, [224, 224], antialias=True) for one in pixels])
    images = normalize(sized, list(network.preprocess.mean), list(network.preprocess.std))
    module = network.module
    return case(module, network.resolve_layer("last"), images, lambda maps: module.classifier(maps.mean((2, 3))))


CASES = {"resnet18": resnet18, "vgg11": vgg11, "lite0": lite0}
