"""Google's EfficientNet-Lite: Lite0, and its wider and deeper forms.

MBConv blocks without squeeze and excitation, ReLU6 instead of SiLU, TensorFlow's SAME padding, head GAP + linear.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
"""The stages of Lite0: (repeats, kernel, stride of the first repeat, expansion, output channels)."""


def stages_of(width: float, depth: float) -> list[tuple[int, int, int, int, int]]:
    """The stages of a form, as :data:`STAGES`; the first and the last keep their repeats.

    Args:
        width: Factor of the channels, which are then rounded to multiples of 8.
        depth: Factor of the repeats, which are then rounded up.

    >>> [(one[0], one[4]) for one in stages_of(1.1, 1.2)]
    [(1, 16), (3, 24), (3, 48), (4, 88), (4, 120), (5, 208), (1, 352)]
    """
    inner = range(1, len(STAGES) - 1)
    return [
        (math.ceil(repeats * depth) if at in inner else repeats, kernel, stride, expansion, _rounded(channels * width))
        for at, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES)
    ]


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


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
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.residual else out


class EfficientNetLite(nn.Module):
    """Maps (N, 3, S, S) normalised RGB to (N, 1000) logits; ``features`` ends in (N, 1280, S/32, S/32)."""

    def __init__(self, num_classes: int = 1000, width: float = 1, depth: float = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(_conv(3, 32, 3, 2), _norm(32), nn.ReLU6(inplace=True))]
        channels = 32
        for repeats, kernel, stride, expansion, outputs in stages_of(width, depth):
            for repeat in range(repeats):
                layers.append(MBConv(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
        layers.append(nn.Sequential(_conv(channels, 1280, 1), _norm(1280), nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
