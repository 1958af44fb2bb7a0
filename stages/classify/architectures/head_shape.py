"""What a head is made for, for those who need no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadShape:
    """What a head is made for.

    Attributes:
        inputs: Channels K of the maps.
        side: Height and width of the maps; matters to fully connected heads alone.
        classes: Number of classes C.
        channels: Channels of the convolution in front of the pooling, where there is one.
        kernel: Its side in cells.
    """

    inputs: int
    side: int
    classes: int
    channels: int
    kernel: int
