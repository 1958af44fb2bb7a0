"""Confidence while pixels are deleted or inserted, from the most salient to the least."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.evaluate.faithfulness.explained import Explained
from stages.evaluate.faithfulness.registry import metric

STEPS = 224
"""Number of steps into which the pixels are divided; the published code changes 224 of 224 x 224 pixels at a time."""
BLUR_SIZE, BLUR_SIGMA = 11, 5.0
"""Kernel size and standard deviation, in pixels, of the blurred image that insertion starts from."""


@metric(
    "deletion",
    definition="area under the confidence as the most salient pixels become the mean colour",
    better="lower",
    passes=f"{STEPS + 1} F",
    source="Petsiuk et al. 2018",
)
def deletion(explained: Explained) -> Tensor:
    """Area under the deletion curve, (N,) in [0, 1]."""
    return _area(explained, explained.inputs, torch.zeros_like(explained.inputs))


@metric(
    "insertion",
    definition="area under the confidence as the most salient pixels of a blurred image become sharp",
    better="higher",
    passes=f"{STEPS + 1} F",
    source="Petsiuk et al. 2018",
)
def insertion(explained: Explained) -> Tensor:
    """Area under the insertion curve, (N,) in [0, 1]."""
    return _area(explained, blurred(explained.inputs), explained.inputs)


def blurred(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) blurred as in the published code; beyond the border lies the mean colour."""
    kernel = torch.from_numpy(blur_kernel()).to(images)
    channels = images.shape[1]
    along = kernel.expand(channels, 1, 1, BLUR_SIZE)
    half = BLUR_SIZE // 2
    rows = F.conv2d(images, along, padding=(0, half), groups=channels)
    return F.conv2d(rows, along.transpose(2, 3), padding=(half, 0), groups=channels)


def blur_kernel() -> np.ndarray:
    """Kernel weights (11,) along one side. The published code filters an 11 x 11 impulse by a Gaussian of 5 pixels,

    which is cut at four standard deviations and whose tails the borders of the small image reflect: they
    are folded back into the kernel.
    """
    reach = int(4 * BLUR_SIGMA + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    places = (BLUR_SIZE // 2 + offsets) % (2 * BLUR_SIZE)
    folded = np.minimum(places, 2 * BLUR_SIZE - 1 - places)
    return np.bincount(folded, weights / weights.sum(), BLUR_SIZE)


def _area(explained: Explained, first: Tensor, last: Tensor) -> Tensor:
    """Area (N,) under the confidence from the images ``first`` to the images ``last``, by trapezoids."""
    size = explained.inputs.shape[3]
    rank = explained.rank.view(-1, 1, size, size)
    changed = torch.arange(STEPS + 1, device=rank.device) * size**2 // STEPS

    def step(image: Tensor, number: Tensor) -> Tensor:
        return torch.where(rank[image] < changed[number].view(-1, 1, 1, 1), last[image], first[image])

    curve = explained.confidences(step, STEPS + 1)
    return (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / STEPS
