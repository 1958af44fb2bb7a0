"""Top-1 and top-5 classification accuracy from prediction rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.batch import Batch
from stages.evaluate.statistics import bootstrap


@dataclass(frozen=True)
class Counts:
    """Labelled images with a first prediction and with five, and how many of them are right."""

    top1_n: int = 0
    top1_hits: int = 0
    top5_n: int = 0
    top5_hits: int = 0


def update(rows: Batch) -> Counts:
    """Count a batch that holds all rows of each of its images.

    Args:
        rows: Columns ``image_id``, ``method``, ``target_rank``, ``class_index``, ``label``. Methods share
            one classification, so the first one's rows are taken.
    """
    ranked = (rows["target_rank"] >= 1) & (rows["target_rank"] <= 5) & (rows["label"] >= 0)
    if not ranked.any():
        return Counts()
    ranked &= rows["method"] == min(rows["method"][ranked])
    ranks, images = rows["target_rank"][ranked], rows["image_id"][ranked]
    right = (rows["class_index"] == rows["label"])[ranked]
    complete = images[ranks == 5]
    return Counts(
        top1_n=int((ranks == 1).sum()),
        top1_hits=int((right & (ranks == 1)).sum()),
        top5_n=len(complete),
        top5_hits=int((right & np.isin(images, complete)).sum()),
    )


def merge(a: Counts, b: Counts) -> Counts:
    """The counts of two disjoint sets of images together."""
    return Counts(a.top1_n + b.top1_n, a.top1_hits + b.top1_hits, a.top5_n + b.top5_n, a.top5_hits + b.top5_hits)


def compute(counts: Counts, seed: int = 0) -> dict[str, Any]:
    """``top1`` and ``top5`` as ``metrics.json`` has them; one without an image is absent."""
    metrics = {}
    if counts.top1_n:
        metrics["top1"] = bootstrap.proportion(counts.top1_hits, counts.top1_n, seed)
    if counts.top5_n:
        metrics["top5"] = bootstrap.proportion(counts.top5_hits, counts.top5_n, seed)
    return metrics
