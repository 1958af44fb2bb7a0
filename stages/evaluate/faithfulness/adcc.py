"""Drop, coherency and complexity in one number: maps that explain nothing can win each of them alone."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.evaluate.faithfulness.drop import average_drop
from stages.evaluate.faithfulness.explained import Explained
from stages.evaluate.faithfulness.registry import metric

SOURCE = "Poppi et al. 2021"


@metric(
    "complexity",
    definition="mean of M: the share of the image that the map keeps",
    better="lower",
    passes="none",
    source=SOURCE,
)
def complexity(explained: Explained) -> Tensor:
    """L1 norm of the saliency per pixel, (N,) in [0, 1]."""
    return explained.saliency.mean((1, 2))


@metric(
    "coherency",
    definition="(1 + Pearson correlation of M(x * M(x)) and M(x)) / 2",
    better="higher",
    passes="1 M",
    source=SOURCE,
)
def coherency(explained: Explained) -> Tensor:
    """Similarity of the map and the map of the masked image, (N,) in [0, 1].

    A constant map correlates with nothing, so its coherency is 0, as is that of a non-finite map.
    """
    one, other = (part.flatten(1) for part in (explained.saliency, explained.masked_saliency))
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    norm = one.norm(dim=1) * other.norm(dim=1)
    correlation = (one * other).sum(1) / norm.where(norm > 0, 1)
    defined = correlation.isfinite() & _varies(explained.saliency) & _varies(explained.masked_saliency)
    return torch.where(defined, (1 + correlation.clamp(-1, 1)) / 2, 0)


@metric(
    "adcc",
    definition="harmonic mean of coherency, 1 - complexity and 1 - average drop",
    better="higher",
    passes="1 F + 1 M",
    source=SOURCE,
)
def adcc(explained: Explained) -> Tensor:
    """Harmonic mean 3 / (1/coherency + 1/(1 - complexity) + 1/(1 - drop)), (N,) in [0, 1]; 0 where a part is 0.

    The paper's released code omits the outer inverse and gives numbers above 1.
    """
    parts = torch.stack([coherency(explained), 1 - complexity(explained), 1 - average_drop(explained)])
    usable = (parts > 0).all(0)
    return torch.where(usable, 3 / (1 / parts.where(usable, 1)).sum(0), 0)


def _varies(maps: Tensor) -> Tensor:
    return maps.amax((1, 2)) > maps.amin((1, 2))
