"""GT-known localization of parts of the data: by class, object size, number of objects, border contact.

CorLoc follows from the counts by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.batch import Batch, take
from stages.evaluate.metrics.contract import Counter, Scoring, with_truth
from stages.evaluate.statistics import bootstrap

GROUPS = {
    "size": {
        "small": "object under 10 % of the image",
        "medium": "object of 10 to 40 %",
        "large": "object of 40 % and more",
    },
    "objects": {"1": "one object", "2": "two objects", "3+": "three objects and more"},
    "border": {"free": "free of the image's border", "touching": "touching the border"},
}
"""Strata and their display names, by kind. The size is that of the label's largest box."""

_SIZES = (0.0, 0.1, 0.4)
"""Smallest share of the image for an object of each size."""


@dataclass(frozen=True)
class StrataCounts:
    """Images and hits by stratum. Only images with a label and a box of it count.

    Attributes:
        labels: (C,) int64, ascending: the labels that images have.
        n: Images by kind, (S,) int64 in the order of :data:`GROUPS`; for ``class`` (C,), by ``labels``.
        hits: Images that are right at each IoU level by kind, (S, D) or (C, D) int64.
    """

    labels: np.ndarray
    n: dict[str, np.ndarray]
    hits: dict[str, np.ndarray]


def count(label: np.ndarray, sizes: np.ndarray, boxes: Sequence[np.ndarray], right: np.ndarray) -> StrataCounts:
    """Count images that each have a label and at least one box of it.

    Args:
        label: (n,) labels, >= 0.
        sizes: (n, 2) displayed width and height.
        boxes: n arrays (k, 4), k >= 1, xyxy half-open displayed pixels, of the label.
        right: (n, D) bool, whether the box for the label reaches each IoU level.
    """
    labels, index = np.unique(np.asarray(label, np.int64), return_inverse=True)
    members = {"class": (index, len(labels))}
    members |= {kind: (at, len(GROUPS[kind])) for kind, at in _groups(sizes, boxes).items()}
    hits = np.asarray(right, np.int64)
    return StrataCounts(
        labels,
        {kind: np.bincount(at, minlength=size) for kind, (at, size) in members.items()},
        {kind: _summed(at, hits, size) for kind, (at, size) in members.items()},
    )


def _groups(sizes: np.ndarray, boxes: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Position (n,) int of each image's stratum in the names, by kind."""
    counts = np.array([len(image) for image in boxes], np.int64)
    first = np.cumsum(counts) - counts
    edges = np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float64)
    sides = np.repeat(np.asarray(sizes, np.float64).reshape(-1, 2), counts, axis=0)
    share = (edges[:, 2:] - edges[:, :2]).prod(1) / sides.prod(1)
    touching = (edges[:, :2] <= 0).any(1) | (edges[:, 2:] >= sides).any(1)
    if len(counts):
        share, touching = np.maximum.reduceat(share, first), np.logical_or.reduceat(touching, first)
    return {
        "size": np.digitize(share, _SIZES) - 1,
        "objects": np.minimum(counts, 3) - 1,
        "border": np.asarray(touching, np.int64),
    }


def _summed(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sums (size, D) int64 of (n, D) values by index."""
    total = np.zeros((size, values.shape[1]), np.int64)
    np.add.at(total, index, values)
    return total


class _Strata(Counter[StrataCounts]):
    name = "strata"
    reads = ("iou", "hits", "boxes", "width", "height")

    def update(self, rows: Batch) -> StrataCounts:
        own = take(rows, (rows["target_rank"] == 0) & with_truth(rows))
        return count(own["label"], np.column_stack([own["width"], own["height"]]), list(own["boxes"]), own["hits"])

    def merge(self, a: StrataCounts, b: StrataCounts) -> StrataCounts:
        labels, index = np.unique(np.concatenate([a.labels, b.labels]), return_inverse=True)
        n = {kind: a.n[kind] + b.n[kind] for kind in GROUPS}
        hits = {kind: a.hits[kind] + b.hits[kind] for kind in GROUPS}
        by_class = np.concatenate([np.column_stack([one.n["class"], one.hits["class"]]) for one in (a, b)])
        total = _summed(index, by_class, len(labels))
        return StrataCounts(labels, {"class": total[:, 0], **n}, {"class": total[:, 1:], **hits})

    def compute(self, counts: StrataCounts, scoring: Scoring) -> dict[str, Any]:
        """Compute ``corloc`` and ``strata``; empty where no image was counted.

        Returns:
            ``corloc``: by IoU level, the share of a class's images that are right, averaged over classes
            (Deselaers et al., Localizing objects while learning their appearance, ECCV 2010), with the
            interval of resampled images. ``strata``: by kind and name ``gt_known_loc`` at each level; strata
            without images are absent; ``class`` as columns, one entry a class that has images.
        """
        if not len(counts.labels):
            return {}
        n, hits, deltas, seed = counts.n["class"], counts.hits["class"], scoring.deltas, scoring.seed
        levels = list(zip((f"{delta:g}" for delta in deltas), hits.T, strict=True))
        strata: dict[str, Any] = {
            kind: {
                name: bootstrap.proportions(counts.hits[kind][position], counts.n[kind][position], deltas, seed)
                for position, name in enumerate(names)
                if counts.n[kind][position]
            }
            for kind, names in GROUPS.items()
        }
        strata["class"] = {
            "class_index": counts.labels.tolist(),
            "n": n.tolist(),
            "hits": {name: level.tolist() for name, level in levels},
        }
        return {"corloc": {name: bootstrap.class_mean(level, n, seed) for name, level in levels}, "strata": strata}

    def to_plain(self, counts: StrataCounts) -> dict[str, Any]:
        return {
            "labels": counts.labels.tolist(),
            "n": {kind: values.tolist() for kind, values in counts.n.items()},
            "hits": {kind: values.tolist() for kind, values in counts.hits.items()},
        }

    def from_plain(self, plain: Any) -> StrataCounts:
        levels = len(plain["hits"]["size"][0])
        return StrataCounts(
            np.array(plain["labels"], np.int64),
            {kind: np.array(values, np.int64) for kind, values in plain["n"].items()},
            {kind: np.array(values, np.int64).reshape(-1, levels) for kind, values in plain["hits"].items()},
        )


STRATA = _Strata()
