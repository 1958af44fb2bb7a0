"""The rule of the first k predictions, which classification, localization and comparisons of runs share."""

from __future__ import annotations

import numpy as np

from stages.batch import Batch

GUESSES = {"top1": 1, "top5": 5}
"""Number of predictions per image under each rule."""

DECIDING = ("label", *GUESSES)
"""Whose box decides whether an image is right: the label's, the first prediction's, one of the first five's."""


def best_of_first(k: int, image_id: np.ndarray, rank: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best value among the first k predictions of each image that has k of them.

    The best guess decides (Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015,
    section 4.3). An image with fewer is not counted: its other guesses are unknown.

    Args:
        k: Number of predictions per image.
        image_id: (n,) ids of the rows, of one method.
        rank: (n,) 1 for the first prediction, 0 for the label, which is not a prediction.
        values: (n, ...) numbers or bool.

    Returns:
        (m,) the images' ids, ascending, and (m, ...) their best values; NaN only where all are.

    >>> best_of_first(2, np.array([7, 7, 7, 9]), np.array([0, 1, 2, 1]), np.array([0.9, 0.1, 0.3, 0.8]))
    (array([7]), array([0.3]))
    """
    chosen = np.flatnonzero((rank >= 1) & (rank <= k) & np.isin(image_id, image_id[rank == k]))
    chosen = chosen[np.argsort(image_id[chosen], kind="stable")]
    ids, starts = np.unique(image_id[chosen], return_index=True)
    if not len(ids):
        return ids, values[:0]
    return ids, np.fmax.reduceat(values[chosen], starts, axis=0)


def overlaps(rows: Batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The overlap that decides whether each image is right at an IoU level, by whose box decides.

    Args:
        rows: Columns ``image_id``, ``target_rank``, ``class_index``, ``label`` and ``iou`` of one method.

    Returns:
        For each of :data:`DECIDING`: (m,) ids, and (m,) float32 IoU of the label's box, of the first
        prediction's, and the best of the first five; -1 where no prediction is the label; NaN where an image has
        no ground truth.
    """
    ids, rank, iou = rows["image_id"], rows["target_rank"], rows["iou"]
    known = rank == 0
    right = np.where((rows["class_index"] != rows["label"]) & ~np.isnan(iou), np.float32(-1), iou)
    guessed = {name: best_of_first(k, ids, rank, right) for name, k in GUESSES.items()}
    return {"label": (ids[known], iou[known]), **guessed}
