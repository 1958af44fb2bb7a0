"""Imputation of missing pixels from their neighbours, for many images at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 3e-4
"""Residual at which an image counts as solved, relative to that at the start, in the preconditioner's norm."""
ITERATIONS = 1000
"""Most iterations of the solver; at 224 pixels it needs a few dozen."""

_COARSEST = 4
"""Side in pixels below which no coarser grid helps."""


def imputed(images: Tensor, gone: Tensor) -> Tensor:
    """Images whose missing pixels are the weighted mean of their neighbours, solved jointly (Rong et al. 2022).

    A missing pixel is x_i = sum_j w_ij x_j / sum_j w_ij over its neighbours within the image, w = 1/6 next to
    it and 1/12 across the corner. The system is symmetric and positive definite as long as a pixel is left,
    so conjugate gradients solve all images and channels at once; each stops on its own, independently of the
    others. Errors on large scales are corrected on coarser grids (Bramble, Pasciak, Xu 1990).

    Args:
        images: (M, C, S, S) images.
        gone: (M, 1, S, S) bool, the missing pixels; at least one of each image is left.

    Returns:
        (M, C, S, S); pixels that are not missing are as they were.
    """
    inside = _neighbours(torch.ones_like(images[:1, :1]))
    known = images * ~gone
    x = torch.zeros_like(images)
    residual = _neighbours(known) * gone
    direction = corrected = _on_all_scales(residual) * gone
    square = _dot(residual, corrected)
    goal = TOLERANCE**2 * square
    for _ in range(ITERATIONS):
        going = square > goal
        if not going.any():
            break
        image = (inside * direction - _neighbours(direction)) * gone
        step = torch.where(going, square / _dot(direction, image).where(going, 1), 0)
        x = x + step * direction
        residual = residual - step * image
        corrected = _on_all_scales(residual) * gone
        before, square = square, torch.where(going, _dot(residual, corrected), square)
        direction = corrected + torch.where(going, square / before.where(going, 1), 0) * direction
    return known + x


def _neighbours(pixels: Tensor) -> Tensor:
    """Weighted sum of each pixel's neighbours; beyond the border there are none."""
    wide = F.pad(pixels, (1, 1, 1, 1))
    rows = wide[..., :-2] + wide[..., 2:] + 2 * wide[..., 1:-1]
    return (rows[..., :-2, :] + rows[..., 2:, :] + 2 * rows[..., 1:-1, :] - 4 * pixels) / 12


def _on_all_scales(grid: Tensor) -> Tensor:
    """Sum of the grid and its coarser and coarser versions, each interpolated back."""
    height, width = grid.shape[2:]
    if min(height, width) < 2 * _COARSEST:
        return grid
    even = F.pad(grid, (0, width % 2, 0, height % 2))
    coarse = _on_all_scales(_halved(_halved(even).mT).mT)
    return grid + _doubled(_doubled(coarse).mT).mT[..., :height, :width]


def _halved(grid: Tensor) -> Tensor:
    """The transpose of :func:`_doubled`."""
    wide = F.pad(grid, (1, 1))
    return (wide[..., :-2:2] + 3 * grid[..., ::2] + 3 * grid[..., 1::2] + wide[..., 3::2]) / 4


def _doubled(grid: Tensor) -> Tensor:
    """The grid with twice as many columns, interpolated linearly; 0 beyond the border."""
    wide = F.pad(grid, (1, 1))
    return torch.stack([wide[..., :-2] + 3 * grid, 3 * grid + wide[..., 2:]], -1).flatten(-2) / 4


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Inner products (M, C, 1, 1) of (M, C, S, S) grids."""
    return (one * other).sum((2, 3), keepdim=True)
