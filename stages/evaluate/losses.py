"""Where localization is lost: images decoded, classified, localized, and what is wrong with the others.

The kinds of error are those of TS-CAM (Gao et al., ICCV 2021), as its released code tells them apart, but
with half-open edges and from IoU level to IoU level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.boxes.iou import at_least

KINDS = ("wrong_class", "several_objects", "part", "too_large", "elsewhere")
"""In the order in which they are tried.

``wrong_class``: the first prediction is not the label. ``several_objects``: the box has more than 0.3 of
each of two or more objects. ``part``: more than half of the box lies on the object that it overlaps best.
``too_large``: the box has at least 0.7 of that object. ``elsewhere``: none of these."""


@dataclass(frozen=True)
class Counts:
    """Counts of images that have a label and a box of it.

    Attributes:
        decoded: How many have predictions.
        classified: How many have the label as first prediction; None where there is no prediction.
        localized: (D,) int64, how many of the classified ones are right at each IoU level.
        errors: (D, len(KINDS)) int64, what is wrong with the others.
    """

    decoded: int
    classified: int | None
    localized: np.ndarray
    errors: np.ndarray


def update(
    right_class: np.ndarray | None,
    boxes: np.ndarray,
    truth: Sequence[np.ndarray],
    ious: np.ndarray,
    deltas: tuple[float, ...],
    comparator: str = ">=",
) -> Counts:
    """Count some images.

    Args:
        right_class: (n,) bool, whether the first prediction is the label; None where nothing is predicted
            and ``boxes`` are those of the labels.
        boxes: (n, 4) xyxy of the first prediction, displayed pixels, zeros for none.
        truth: n arrays (k, 4), k >= 1: the label's ground truth.
        ious: (n,) float32, best IoU of each box under the protocol.
        deltas: IoU levels.
        comparator: Of an overlap with its level.
    """
    known = np.ones(len(boxes), bool) if right_class is None else right_class
    kinds = np.where(known, _kinds(boxes, truth), 0)
    right = at_least(ious, deltas, comparator) & known
    errors = np.stack([np.bincount(kinds[~level], minlength=len(KINDS)) for level in right])
    classified = None if right_class is None else int(right_class.sum())
    return Counts(len(boxes), classified, right.sum(1), errors)


def _kinds(boxes: np.ndarray, truth: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) the kind of error that each box is, were it one, taking its class for right."""
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
    return np.select(conditions, [KINDS.index(kind) for kind in KINDS[1:4]], KINDS.index("elsewhere"))


def merge(a: Counts | None, b: Counts | None) -> Counts | None:
    """The counts of two disjoint sets of images together; None is no images."""
    if a is None or b is None:
        return b if a is None else a
    classified = None if a.classified is None or b.classified is None else a.classified + b.classified
    return Counts(a.decoded + b.decoded, classified, a.localized + b.localized, a.errors + b.errors)


def compute(counts: Counts | None, images: int, deltas: tuple[float, ...]) -> dict[str, Any]:
    """``losses`` as ``metrics.json`` has them: plain counts.

    Args:
        counts: Of all images.
        images: How many have a label and a box of it, decoded or not.
        deltas: The IoU levels that were counted.

    Returns:
        ``images``, ``decoded``, ``classified`` (absent where nothing is predicted), ``localized`` and
        ``errors`` by IoU level, so that decoded = localized + all errors. Empty without images.
    """
    if counts is None:
        return {}
    names = [f"{delta:g}" for delta in deltas]
    steps: dict[str, Any] = {"images": images, "decoded": counts.decoded}
    if counts.classified is not None:
        steps["classified"] = counts.classified
    return {
        "losses": steps
        | {
            "localized": dict(zip(names, counts.localized.tolist(), strict=True)),
            "errors": {
                name: dict(zip(KINDS, row, strict=True))
                for name, row in zip(names, counts.errors.tolist(), strict=True)
            },
        }
    }
