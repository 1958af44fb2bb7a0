"""Conversion between the maps that explainers read, (N, K, h, w), and the layouts of layers' outputs.

Convolutions give (N, K, h, w), Swin's blocks (N, h, w, K), and a vision transformer a sequence (N, P + h w, K)
of P class, distillation or register tokens and then the patches, row by row.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor


def to_maps(output: object) -> Tensor | None:
    """The (N, K, h, w) view of a layer's output for a square image; None where it has no spatial extent."""
    if not isinstance(output, Tensor):
        return None
    if output.ndim == 4:
        maps = output.permute(0, 3, 1, 2) if _channels_last(output) else output
        return maps if maps.shape[2] * maps.shape[3] > 1 else None
    if output.ndim == 3:
        side = isqrt(output.shape[1])
        # With more tokens before the patches than a row is long, the output is not a grid but some other sequence.
        if side > 1 and output.shape[1] - side**2 <= side:
            return output[:, -(side**2) :].transpose(1, 2).reshape(len(output), -1, side, side)
    return None


def from_maps(maps: Tensor, output: Tensor) -> Tensor:
    """``maps`` (M, K, h, w) in the layout of ``output``, including its tokens that are not patches.

    Args:
        maps: Altered maps of ``output``.
        output: Original output of the layer, for one image or for M.
    """
    if output.ndim == 3:
        patches = maps.flatten(2).transpose(1, 2)
        others = output[:, : output.shape[1] - patches.shape[1]]
        return torch.cat([others.expand(len(maps), -1, -1), patches], 1)
    return maps.permute(0, 2, 3, 1) if _channels_last(output) else maps


def _channels_last(output: Tensor) -> bool:
    return output.shape[1] == output.shape[2] > 1 and output.shape[2] != output.shape[3]
