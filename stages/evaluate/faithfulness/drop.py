"""Change of the confidence when only the salient part of the image is left."""

from __future__ import annotations

from torch import Tensor

from stages.evaluate.faithfulness.explained import Explained
from stages.evaluate.faithfulness.registry import metric


@metric(
    "average_drop",
    definition="mean max(0, Y - O) / Y of the confidence in the whole image, Y, and in x * M, O",
    better="lower",
    passes="1 F",
    source="Chattopadhyay et al. 2018",
)
def average_drop(explained: Explained) -> Tensor:
    """Share of the confidence that is lost, (N,) in [0, 1]."""
    return (explained.confidence - explained.masked_confidence).relu() / explained.confidence


@metric(
    "increase",
    definition="share of images with O > Y",
    better="higher",
    passes="1 F",
    source="Chattopadhyay et al. 2018",
)
def increase(explained: Explained) -> Tensor:
    """Whether the confidence is higher for the salient part than for the whole image, 1 or 0, (N,)."""
    return (explained.masked_confidence > explained.confidence).to(explained.inputs)


@metric(
    "average_gain",
    definition="mean max(0, O - Y) / (1 - Y)",
    better="higher",
    passes="1 F",
    source="Zhang et al. 2024 (Opti-CAM)",
)
def average_gain(explained: Explained) -> Tensor:
    """Share of the missing confidence that is gained, (N,) in [0, 1]; 0 where none was missing."""
    missing = 1 - explained.confidence
    return (explained.masked_confidence - explained.confidence).relu() / missing.where(missing > 0, 1)
