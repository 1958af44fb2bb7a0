"""Fusion of the maps of several layers into one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LAYERCAM_SCALE = 2
"""Scale gamma in LayerCAM's eq. 9."""


def mean_of_maxima(maps: Sequence[Tensor]) -> Tensor:
    """The mean of ReLU(M) / max M over the layers, (N, h, w) in [0, 1] on the largest grid.

    Raw maps of two layers differ in scale by orders of magnitude, so each counts by its shape alone. A map
    without a positive value says nothing and counts as zeros.

    Args:
        maps: (N, h_l, w_l) of each layer.
    """
    return torch.stack(_on_largest_grid([_positive(one) for one in maps])).mean(0)


def maximum_of_scaled(maps: Sequence[Tensor]) -> Tensor:
    """LayerCAM's fusion (Jiang et al. 2021, eq. 9 and section III-C), (N, h, w) in [0, 1] on the largest grid.

    Shallow layers respond weakly: their maps become tanh(2 M / max M), the deepest layer's M / max M, and
    every location takes the largest value.

    Args:
        maps: (N, h_l, w_l) of each layer, from the shallowest to the deepest.
    """
    positive = [_positive(one) for one in maps]
    scaled = [(LAYERCAM_SCALE * one).tanh() for one in positive[:-1]] + positive[-1:]
    return torch.stack(_on_largest_grid(scaled)).amax(0)


def _positive(maps: Tensor) -> Tensor:
    positive = maps.relu()
    peak = positive.amax((1, 2), keepdim=True)
    return positive / peak.where(peak != 0, 1)


def _on_largest_grid(maps: Sequence[Tensor]) -> list[Tensor]:
    grid = max((one.shape[1:] for one in maps), key=lambda shape: shape[0] * shape[1])
    return [one if one.shape[1:] == grid else F.interpolate(one[:, None], grid, mode="bilinear")[:, 0] for one in maps]
