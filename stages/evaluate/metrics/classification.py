"""Top-1 and top-5 classification accuracy from prediction rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.batch import Batch, take
from stages.evaluate.guesses import GUESSES, best_of_first
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.statistics import bootstrap

ClassCounts = Mapping[str, tuple[int, int]]
"""Labelled images with enough predictions, and how many of them are right, by rule of :data:`GUESSES`."""


class _Classification(Counter[ClassCounts]):
    name = "classification"
    reads = ()

    def update(self, rows: Batch) -> ClassCounts:
        own = take(rows, rows["label"] >= 0)
        right = own["class_index"] == own["label"]
        best = {name: best_of_first(k, own["image_id"], own["target_rank"], right)[1] for name, k in GUESSES.items()}
        return {name: (len(one), int(one.sum())) for name, one in best.items()}

    def merge(self, a: ClassCounts, b: ClassCounts) -> ClassCounts:
        return {name: (a[name][0] + b[name][0], a[name][1] + b[name][1]) for name in GUESSES}

    def compute(self, counts: ClassCounts, scoring: Scoring) -> dict[str, Any]:
        """Compute ``top1`` and ``top5``; one without an image is absent."""
        return {
            name: bootstrap.proportion(hits, images, scoring.seed) for name, (images, hits) in counts.items() if images
        }

    def to_plain(self, counts: ClassCounts) -> dict[str, list[int]]:
        return {name: list(pair) for name, pair in counts.items()}

    def from_plain(self, plain: Any) -> ClassCounts:
        return {name: (images, hits) for name, (images, hits) in plain.items()}


CLASSIFICATION = _Classification()
