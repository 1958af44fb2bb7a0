"""Localization losses: images decoded, classified, localized, and the errors of the others.

The kinds of error are those of TS-CAM (Gao et al., ICCV 2021), as its released code tells them apart, but
with half-open edges and from IoU level to IoU level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.batch import Batch, take
from stages.evaluate.metrics.contract import Counter, Scoring, with_truth

KINDS = {
    "wrong_class": "first prediction is wrong",
    "several_objects": "box has several objects",
    "part": "box is a part of the object",
    "too_large": "box is too large",
    "elsewhere": "box is elsewhere",
}
"""Kinds of error and their display names, in the order in which they are tested.

``wrong_class``: the first prediction is not the label. ``several_objects``: the box has more than 0.3 of
each of two or more objects. ``part``: more than half of the box lies on the object that it overlaps best.
``too_large``: the box has at least 0.7 of that object. ``elsewhere``: none of these."""

_OF_BOXES = list(KINDS)[1:]


@dataclass(frozen=True)
class LossCounts:
    """Counts of images that have a label and a box of it.

    Attributes:
        decoded: How many have predictions.
        classified: How many have the label as first prediction; None where nothing is predicted.
        localized: (D,) int64, how many of the classified ones are right at each IoU level.
        errors: (D, len(KINDS)) int64, what is wrong with the others.
    """

    decoded: int
    classified: int | None
    localized: np.ndarray
    errors: np.ndarray


def count(
    right_class: np.ndarray | None, boxes: np.ndarray, truth: Sequence[np.ndarray], reached: np.ndarray
) -> LossCounts:
    """Count some images.

    Args:
        right_class: (n,) bool, whether the first prediction is the label; None where nothing is predicted
            and ``boxes`` are those of the labels.
        boxes: (n, 4) xyxy of the first prediction, displayed pixels, zeros for none.
        truth: n arrays (k, 4), k >= 1: the label's ground truth.
        reached: (n, D) bool, whether each box reaches each IoU level under the protocol.
    """
    known = np.ones(len(boxes), bool) if right_class is None else right_class
    kinds = np.where(known, 1 + _kinds(boxes, truth), 0)
    right = reached.T & known
    errors = np.stack([np.bincount(kinds[~level], minlength=len(KINDS)) for level in right])
    classified = None if right_class is None else int(right_class.sum())
    return LossCounts(len(boxes), classified, right.sum(1), errors)


def _kinds(boxes: np.ndarray, truth: Sequence[np.ndarray]) -> np.ndarray:
    """Kind of error (n,) of each box if it is one, assuming the right class: positions in _OF_BOXES."""
    counts = np.array([len(image) for image in truth], np.int64)
    if not len(counts):
        return np.zeros(0, np.int64)
    objects = np.concatenate([np.zeros((0, 4)), *truth]).astype(np.float64)
    own = np.repeat(np.asarray(boxes, np.float64), counts, axis=0)
    shared = np.clip(np.minimum(own[:, 2:], objects[:, 2:]) - np.maximum(own[:, :2], objects[:, :2]), 0, None).prod(1)
    box_area, object_area = ((edges[:, 2:] - edges[:, :2]).prod(1) for edges in (own, objects))
    of_box = np.divide(shared, box_area, out=np.zeros_like(shared), where=box_area > 0)
    of_object = np.divide(shared, object_area, out=np.zeros_like(shared), where=object_area > 0)
    union = box_area + object_area - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    first = np.cumsum(counts) - counts
    several = np.add.reduceat((of_object > 0.3).astype(np.int64), first) >= 2
    # The best of each image: the last of a stable sort by image, then overlap, earlier objects last.
    image = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-np.arange(len(image)), overlap, image))
    best = order[first + counts - 1]
    conditions = [several, of_box[best] > 0.5, of_object[best] >= 0.7]
    return np.select(conditions, list(range(len(conditions))), _OF_BOXES.index("elsewhere"))


class _Losses(Counter[LossCounts]):
    name = "losses"
    reads = ("iou", "hits", "box", "boxes")

    def update(self, rows: Batch) -> LossCounts:
        """Count by the first prediction, or by the label where nothing is predicted."""
        ranked = bool((rows["target_rank"] == 1).any())
        own = take(rows, (rows["target_rank"] == int(ranked)) & with_truth(rows))
        right = own["class_index"] == own["label"] if ranked else None
        return count(right, own["box"], list(own["boxes"]), own["hits"])

    def merge(self, a: LossCounts, b: LossCounts) -> LossCounts:
        if not a.decoded or not b.decoded:
            return a if a.decoded else b
        classified = None if a.classified is None or b.classified is None else a.classified + b.classified
        return LossCounts(a.decoded + b.decoded, classified, a.localized + b.localized, a.errors + b.errors)

    def compute(self, counts: LossCounts, scoring: Scoring) -> dict[str, Any]:
        """Compute ``losses``, plain counts.

        Returns:
            ``images``, ``decoded``, ``classified`` (absent where nothing is predicted), ``localized`` and
            ``errors`` by IoU level, so that decoded = localized + all errors. Empty without images.
        """
        if not counts.decoded:
            return {}
        names = [f"{delta:g}" for delta in scoring.deltas]
        steps: dict[str, Any] = {"images": scoring.boxed, "decoded": counts.decoded}
        if counts.classified is not None:
            steps["classified"] = counts.classified
        errors = zip(names, counts.errors.tolist(), strict=True)
        return {
            "losses": steps
            | {
                "localized": dict(zip(names, counts.localized.tolist(), strict=True)),
                "errors": {name: dict(zip(KINDS, row, strict=True)) for name, row in errors},
            }
        }

    def to_plain(self, counts: LossCounts) -> dict[str, Any]:
        return {
            "decoded": counts.decoded,
            "classified": counts.classified,
            "localized": counts.localized.tolist(),
            "errors": counts.errors.tolist(),
        }

    def from_plain(self, plain: Any) -> LossCounts:
        localized, errors = (np.array(plain[key], np.int64) for key in ("localized", "errors"))
        return LossCounts(plain["decoded"], plain["classified"], localized, errors)


LOSSES = _Losses()
