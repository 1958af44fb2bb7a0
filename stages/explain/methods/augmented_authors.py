"""Augmented Grad-CAM with every setting as its authors released it, in addition to the converged one.

Read in diegocarrera89/AugmentedGradCAM (lib_aug_gradcam.py, generate_all_gradcam.py). Differences from
``augmented-gradcam``: 100 copies instead of 16, black where a copy extends beyond the image, D that takes the
upper left pixel of every cell (TensorFlow 1's resize) instead of averaging over it, no cell left out, and a
solver that stops long before the minimum: 200 steps of Adam of at most 0.001 from zero cannot pass 0.2, so the
map's scale says nothing, and its maps lie half a cell to the lower right.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.explain.all_targets import for_all_targets
from stages.explain.methods.augmented import maps_of_copies
from stages.explain.registry import explainer
from stages.trace.trace import Trace

COPIES = 100
ROTATION = 0.5
"""Largest rotation in radians."""
SHIFT = 30 / 112
"""Largest shift in half sides of the image: 30 of 224 pixels."""
SIDE = 224
TV_WEIGHT = 0.002
"""Weight of the variation, per copy; the squared residuals and h^2 have no factor 1/2 here."""
ENERGY_WEIGHT = 1e-4
"""Weight of h^2, per copy."""
ITERATIONS = 200
RATE = 0.001


@explainer(
    "augmented-gradcam-authors",
    formula="200 steps down sum_l |D A_l h - g_l|^2 + 0.2 TV(h) + 0.01 |h|^2 from h = 0",
    cost="100 F + 100 b + solver",
    source="Morbidelli et al. 2020, as released",
)
def augmented_gradcam_authors(trace: Trace, target: Tensor) -> Tensor:
    """The released super-resolution, (N, 224, 224)."""
    return descend(_maps(trace, target), transformations(trace.inputs))


@for_all_targets
def _maps(trace: Trace, targets: Tensor) -> Tensor:
    return maps_of_copies(trace, targets, transformations(trace.inputs), "zeros")[0]


def transformations(like: Tensor) -> Tensor:
    """Affine maps (100, 2, 3) from a copy's coordinates to the image's: a rotation, then a shift; the first is
    neither."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([ROTATION, SHIFT, SHIFT])
    drawn = (2 * torch.rand(COPIES, 3, generator=generator) - 1) * spread
    drawn[0] = 0
    cos, sin = drawn[:, 0].cos(), drawn[:, 0].sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([turn, -turn @ drawn[:, 1:, None]], 2).to(like)


def sample_points(transforms: Tensor, height: int, width: int) -> Tensor:
    """Image coordinates of the upper left pixel of every cell of every copy, (L, h w, 2) in [-1, 1]."""
    row = 2 * torch.arange(height).to(transforms) / height + 1 / SIDE - 1
    column = 2 * torch.arange(width).to(transforms) / width + 1 / SIDE - 1
    y, x = torch.meshgrid(row, column, indexing="ij")
    corners = torch.stack([x, y, torch.ones_like(x)], 2).view(-1, 3)
    return corners @ transforms.transpose(1, 2)


def descend(maps: Tensor, transforms: Tensor) -> Tensor:
    """Adam's first 200 steps from zero: (N, L, h, w) and (L, 2, 3) to (N, 224, 224), without a bound at 0."""
    copies = maps.shape[1]
    where = sample_points(transforms, *maps.shape[2:]).expand(len(maps), -1, -1, -1)
    h = maps.new_zeros(len(maps), 1, SIDE, SIDE, requires_grad=True)
    optimizer = torch.optim.Adam([h], RATE)
    with torch.enable_grad():
        for _ in range(ITERATIONS):
            seen = F.grid_sample(h, where, padding_mode="zeros", align_corners=False)[:, 0]
            residual = (seen - maps.flatten(2)).square().sum()
            variation = h.diff(dim=2).abs().sum() + h.diff(dim=3).abs().sum()
            loss = residual + copies * (TV_WEIGHT * variation + ENERGY_WEIGHT * h.square().sum())
            (h.grad,) = torch.autograd.grad(loss, h)
            optimizer.step()
    return h.detach()[:, 0]
