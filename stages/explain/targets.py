"""Which classes of an image are explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

LABEL, LABELS, PRESENT = "label", "labels", "present"
"""The ground-truth label; all labels of the image; the predictions of at least a given probability, and the first."""
TOP = tuple(f"top{rank}" for rank in range(1, 6))
"""Names of the best predictions: ``topK`` stands for the first K."""

MOST_PRESENT = 100
"""Most classes of an image that can be present: ranks are stored in 8 bits."""


def of_labels(targets: Sequence[str]) -> list[str]:
    """The targets that need a ground-truth label.

    >>> of_labels(["label", "top5"])
    ['label']
    """
    return [one for one in targets if one in (LABEL, LABELS)]


def of_predictions(targets: Sequence[str]) -> list[str]:
    """The targets that need none."""
    return [one for one in targets if one not in (LABEL, LABELS)]


class Chosen(NamedTuple):
    """Classes of a batch, in columns.

    Attributes:
        classes: (N, T) int64 class of each column; any class where it is not kept.
        ranks: (T,) int8: 0 for labels, 1..k for predictions.
        kept: (N, T) bool, whether the column is a target of the image.
    """

    classes: np.ndarray
    ranks: np.ndarray
    kept: np.ndarray


def choose(
    targets: Sequence[str],
    present: float,
    label: np.ndarray,
    others: Sequence[Mapping[int, object]],
    top_class: np.ndarray,
    probs: np.ndarray,
) -> Chosen:
    """The classes that are explained, of each image of a batch.

    Args:
        targets: Names: :data:`LABEL`, :data:`LABELS`, :data:`PRESENT`, and those of :data:`TOP`.
        present: Probability from which on a class is present.
        label: (N,) label of each image, -1 for none.
        others: Further classes that each image shows, as keys.
        top_class: (N, k) the best classes.
        probs: (N, C) probabilities.
    """
    columns: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    if of_labels(targets):
        columns.append(np.maximum(label, 0))
        kept.append(label >= 0)
    further = [sorted(one) for one in others] if LABELS in targets else []
    for place in range(max(map(len, further), default=0)):
        kept.append(np.array([place < len(one) for one in further]))
        columns.append(np.array([one[place] if place < len(one) else 0 for one in further]))
    labels = len(columns)
    top = max((TOP.index(one) + 1 for one in targets if one in TOP), default=0)
    ranked = _ranked(top_class, probs, present) if PRESENT in targets else top_class
    for rank in range(1, ranked.shape[1] + 1):
        index = ranked[:, rank - 1]
        own = np.full(len(label), rank <= top)
        if PRESENT in targets:
            own |= rank == 1  # Every image has a row.
            own |= np.take_along_axis(probs, index[:, None], 1)[:, 0] >= present
        if rank <= top or own.any():
            columns.append(index)
            kept.append(own)
    ranks = np.array([0] * labels + list(range(1, len(columns) - labels + 1)), np.int8)
    return Chosen(np.stack(columns, 1).astype(np.int64), ranks, np.stack(kept, 1))


def _ranked(top_class: np.ndarray, probs: np.ndarray, present: float) -> np.ndarray:
    """The best classes, continued by probability as far as any image of the batch has them present."""
    most = min(int((probs >= present).sum(1).max(initial=0)), MOST_PRESENT)
    if most <= top_class.shape[1]:
        return top_class
    # Their order is that of the logits, where several probabilities are rounded to 1.
    behind = probs.astype(np.float64)
    np.put_along_axis(behind, top_class, -np.inf, 1)
    rest = np.argsort(-behind, axis=1, kind="stable")[:, : most - top_class.shape[1]]
    return np.concatenate([top_class, rest], 1)


def contrasted(labels: np.ndarray, share: float) -> np.ndarray:
    """Shares of the columns' maps that add up to a map of each column: a label's less those of the other labels.

    Args:
        labels: (N, T) bool, whether the column is a label of the image.
        share: Share of the mean of the other labels' maps that is taken off.

    Returns:
        (N, T, T) float32, each column alone where an image has no other label.

    >>> contrasted(np.array([[True, True, False], [True, False, False]]), 0.5).tolist()[0]
    [[1.0, -0.5, 0.0], [-0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    others = labels[:, :, None] & labels[:, None] & ~np.eye(labels.shape[1], dtype=bool)
    count = np.maximum(others.sum(2, keepdims=True), 1)
    found: np.ndarray = (np.eye(labels.shape[1]) - share * others / count).astype(np.float32)
    return found
