"""Localization by the box of the label and of the first predictions: accuracies and the mean IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.batch import Batch, take
from stages.evaluate.clsloc import error_rates
from stages.evaluate.guesses import GUESSES, best_of_first
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.metrics.packing import pack, unpack
from stages.evaluate.statistics import bootstrap

ACCURACIES = ("gt_known_loc", *(f"{name}_loc" for name in GUESSES))


@dataclass(frozen=True)
class BoxCounts:
    """Counts for the metrics of one box per image. Only images with a label and a box of it count.

    Attributes:
        images: (3,) int64, number of images with a row for each of :data:`ACCURACIES`.
        hits: (3, D) int64, how many of them are right at each IoU level.
        ious: (n,) float32, IoU of the box of each image's label.
    """

    images: np.ndarray
    hits: np.ndarray
    ious: np.ndarray


class _Boxes(Counter[BoxCounts]):
    name = "boxes"
    reads = ("iou", "hits")

    def update(self, rows: Batch) -> BoxCounts:
        """Count rows.

        A row is right at an IoU level where its class is the label and its box reaches the level. GT-known
        looks at the label's own row, top-1 and top-5 at the first predictions.
        """
        own = take(rows, (rows["label"] >= 0) & ~np.isnan(rows["iou"]))
        right = own["hits"] & (own["class_index"] == own["label"])[:, None]
        known = own["target_rank"] == 0
        guessed = [best_of_first(k, own["image_id"], own["target_rank"], right)[1] for k in GUESSES.values()]
        return BoxCounts(
            np.array([known.sum(), *map(len, guessed)]),
            np.stack([right[known].sum(0), *(best.sum(0) for best in guessed)]),
            own["iou"][known],
        )

    def merge(self, a: BoxCounts, b: BoxCounts) -> BoxCounts:
        return BoxCounts(a.images + b.images, a.hits + b.hits, np.concatenate([a.ious, b.ious]))

    def compute(self, counts: BoxCounts, scoring: Scoring) -> dict[str, Any]:
        """Compute the accuracies, ``clsloc_error`` under ILSVRC's own rules, and ``mean_iou``."""
        metrics: dict[str, Any] = {
            name: bootstrap.proportions(hits, images, scoring.deltas, scoring.seed)
            for name, images, hits in zip(ACCURACIES, counts.images, counts.hits, strict=True)
            if images
        }
        if scoring.protocol.official == "clsloc":
            metrics |= error_rates(metrics)
        if len(counts.ious):
            metrics["mean_iou"] = bootstrap.mean(counts.ious, scoring.seed)
        return metrics

    def to_plain(self, counts: BoxCounts) -> dict[str, Any]:
        return {"images": counts.images.tolist(), "hits": counts.hits.tolist(), "ious": pack(counts.ious)}

    def from_plain(self, plain: Any) -> BoxCounts:
        return BoxCounts(np.array(plain["images"], np.int64), np.array(plain["hits"], np.int64), unpack(plain["ious"]))


BOXES = _Boxes()
