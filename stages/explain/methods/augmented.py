"""Super-resolution of the Grad-CAMs of many rotated and shifted copies of an image.

Morbidelli, Carrera, Rossi, Fragneto, Boracchi: Augmented Grad-CAM, ICASSP 2020. The map h minimises

    1/2 sum_l |D A_l h - g_l|^2 + lambda TV(h) + mu/2 |h|^2,

where A_l makes the l-th copy, D averages the cells of the low-resolution grid, g_l is the copy's Grad-CAM
divided by its maximum, and TV is anisotropic. D A_l h reads only a few points of h per cell, so it is one
gather for all copies and images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.explain.all_targets import for_all_targets
from stages.explain.methods.gradcam import gradcam
from stages.explain.registry import explainer
from stages.trace.trace import Trace

COPIES = 16
ROTATION = 0.5
"""Largest rotation in radians."""
SHIFT = 30 / 112
"""Largest shift in half sides of the image: 30 of 224 pixels."""
SIDE = 112
"""Side of the map h."""
POINTS = 2
"""Points per side of a cell that D averages."""
TV_WEIGHT = 0.001
"""Weight lambda of the variation, per copy, for a map of 224 pixels."""
ENERGY_WEIGHT = 1e-4
"""Weight mu of |h|^2, per copy, for a map of 224 pixels."""
ITERATIONS = 60
RATE = 0.05


@explainer(
    "augmented-gradcam",
    formula="argmin_h 1/2 sum_l |D A_l h - g_l|^2 + lambda TV(h) + mu/2 |h|^2",
    cost="16 F + 16 b + solver",
    source="Morbidelli et al. 2020, eq. 2",
)
def augmented_gradcam(trace: Trace, target: Tensor) -> Tensor:
    """Super-resolved Grad-CAM, (N, 112, 112), values >= 0."""
    maps, _ = augmented_maps(trace, target)
    return super_resolve(maps, torch.ones_like(maps[:, :, 0, 0]), transformations(trace.inputs))


@explainer(
    "weighted-augmented-gradcam",
    formula="the same with residuals weighted by p_c of each copy",
    cost="16 F + 16 b + solver",
    source="this project's definition of a method named in Boracchi's lecture",
)
def weighted_augmented_gradcam(trace: Trace, target: Tensor) -> Tensor:
    """Super-resolved Grad-CAM with copies weighted by the class's probability, (N, 112, 112).

    The probabilities on the copies are scaled to sum to their number.
    """
    maps, probs = augmented_maps(trace, target)
    weights = probs / probs.mean(1, keepdim=True).clamp(min=torch.finfo(probs.dtype).tiny)
    return super_resolve(maps, weights, transformations(trace.inputs))


def transformations(like: Tensor) -> Tensor:
    """Affine maps (L, 2, 3) from a copy's coordinates to the image's, both in [-1, 1]; the first is the identity.

    They are equal for every image, so no map depends on its batch.
    """
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([ROTATION, SHIFT, SHIFT])
    angle, right, down = ((2 * torch.rand(COPIES, 3, generator=generator) - 1) * spread).unbind(1)
    rows = torch.stack([angle.cos(), -angle.sin(), right, angle.sin(), angle.cos(), down], 1).view(-1, 2, 3)
    rows[0] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return rows.to(like)


@for_all_targets
def augmented_maps(trace: Trace, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Grad-CAMs of all copies after ReLU and division by their maximum (N, T, L, h, w), and p_c (N, T, L)."""
    # Reflection, because black wedges next to a rotated copy would be explained as well.
    return maps_of_copies(trace, targets, transformations(trace.inputs), "reflection")


def maps_of_copies(trace: Trace, targets: Tensor, transforms: Tensor, padding: str) -> tuple[Tensor, Tensor]:
    """Grad-CAMs and probabilities as in :func:`augmented_maps`, for any copies.

    Args:
        trace: Trace of the images.
        targets: (N, T) classes.
        transforms: (L, 2, 3) affine maps from a copy's coordinates to the image's.
        padding: Content of a copy outside the image: its ``reflection``, or black (``zeros``).
    """
    black = trace.network.black.to(trace.inputs) if padding == "zeros" else 0
    maps, probs = [], []
    for one in transforms:
        grid = F.affine_grid(one[None], [1, *trace.inputs.shape[1:]], align_corners=False)
        copies = F.grid_sample(
            trace.inputs - black,
            grid.expand(len(trace.inputs), -1, -1, -1),
            padding_mode=padding,
            align_corners=False,
        )
        seen = trace.network.trace(copies + black)
        heat = torch.stack([gradcam(seen, target).detach().relu() for target in targets.unbind(1)], 1)
        peak = heat.amax((2, 3), keepdim=True)
        maps.append(heat / peak.where(peak > 0, 1))
        probs.append(seen.probs.gather(1, targets))
    return torch.stack(maps, 2), torch.stack(probs, 2)


def sample_points(transforms: Tensor, height: int, width: int) -> Tensor:
    """Image coordinates of the points of every cell of every copy, (L, h w points^2, 2) in [-1, 1]."""
    dense = F.affine_grid(transforms, [len(transforms), 1, height * POINTS, width * POINTS], align_corners=False)
    cells = dense.view(len(transforms), height, POINTS, width, POINTS, 2).transpose(2, 3)
    return cells.reshape(len(transforms), -1, 2)


def observe(h: Tensor, points: Tensor) -> Tensor:
    """Observations D A_l h of all copies: (N, 1, S, S) and (L, P, 2) to (N, L, P / points^2); h is 0 outside
    the image."""
    where = points.view(1, 1, -1, 2).expand(len(h), -1, -1, -1)
    values = F.grid_sample(h, where, padding_mode="zeros", align_corners=False)
    return values.view(len(h), len(points), -1, POINTS**2).mean(3)


def super_resolve(maps: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Minimise the functional by Adam from the registered average, projected to h >= 0.

    Args:
        maps: (N, L, h, w) observations in [0, 1].
        weights: (N, L) weights of the residuals of each copy, summing to L.
        transforms: (L, 2, 3) affine maps of the copies.

    Returns:
        (N, SIDE, SIDE) maps.
    """
    count, copies, height, width = maps.shape
    points = sample_points(transforms, height, width)
    # A cell that lies outside the image observes nothing.
    inside = (points.abs() <= 1).all(2).view(copies, -1, POINTS**2).all(2)
    strength = weights[:, :, None] * inside
    observed = maps.flatten(2)
    scale = 224 / SIDE
    tv_weight, energy_weight = TV_WEIGHT * copies * scale, ENERGY_WEIGHT * copies * scale**2
    h = registered_average(maps, transforms)[:, None].requires_grad_()
    optimizer = torch.optim.Adam([h], RATE)
    with torch.enable_grad():
        for _ in range(ITERATIONS):
            residual = (strength * (observe(h, points) - observed) ** 2).sum() / 2
            variation = h.diff(dim=2).abs().sum() + h.diff(dim=3).abs().sum()
            loss = residual + tv_weight * variation + energy_weight / 2 * h.square().sum()
            (h.grad,) = torch.autograd.grad(loss, h)
            optimizer.step()
            with torch.no_grad():
                h.clamp_(min=0)
    return h.detach().view(count, SIDE, SIDE)


def registered_average(maps: Tensor, transforms: Tensor) -> Tensor:
    """All maps transformed back and upsampled, averaged where they cover the image, (N, SIDE, SIDE)."""
    count, copies = maps.shape[:2]
    full = torch.cat([transforms, transforms.new_tensor([0, 0, 1]).expand(copies, 1, 3)], 1)
    grid = F.affine_grid(torch.linalg.inv(full)[:, :2], [copies, 1, SIDE, SIDE], align_corners=False)
    seen = (grid.abs() <= 1).all(3).to(maps.dtype)
    back = F.grid_sample(
        maps.transpose(0, 1), grid, padding_mode="border", align_corners=False
    )  # (L, N, SIDE, SIDE): the images are the channels of a copy
    return (back * seen[:, None]).sum(0).div(seen.sum(0).clamp(min=1)).view(count, SIDE, SIDE)
