"""Remove and debias: the most or least salient pixels are imputed from their neighbours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.evaluate.faithfulness.explained import Explained
from stages.evaluate.faithfulness.impute import imputed
from stages.evaluate.faithfulness.registry import metric

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Shares of the pixels that are removed, in percent."""
NOISE = 0.01
"""Standard deviation of the noise added to replaced pixels, in units of the network's normalised input."""


@metric(
    "road",
    definition="half of how much more the confidence drops when the most salient 10 to 90 % of the pixels are imputed, "
    "not the least salient",
    better="higher",
    passes=f"{2 * len(PERCENTILES)} F",
    source="Rong et al. 2022",
)
def road(explained: Explained) -> Tensor:
    """Half the mean confidence without the least minus that without the most salient pixels, (N,) in [-1/2, 1/2]."""
    most = explained.rank
    least = most.shape[1] - 1 - most
    return (_confidence_without(explained, least) - _confidence_without(explained, most)) / 2


def _confidence_without(explained: Explained, rank: Tensor) -> Tensor:
    """Mean confidence (N,) over the percentiles, for images without the pixels of the lowest ranks (N, S S)."""
    size = explained.inputs.shape[3]
    place = rank.view(-1, 1, size, size)
    removed = torch.tensor([round(size**2 * share / 100) for share in PERCENTILES], device=rank.device)
    noise = NOISE * _noise(explained)

    def without(image: Tensor, number: Tensor) -> Tensor:
        gone = place[image] < removed[number].view(-1, 1, 1, 1)
        return torch.where(gone, imputed(explained.inputs[image], gone) + noise[image], explained.inputs[image])

    return explained.confidences(without, len(PERCENTILES)).mean(1)


def _noise(explained: Explained) -> Tensor:
    """Standard normal noise (N, 3, S, S) from each image's own seed."""
    shape = explained.inputs.shape[1:]
    drawn = [np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in explained.seeds]
    return torch.from_numpy(np.stack(drawn)).to(explained.inputs)
