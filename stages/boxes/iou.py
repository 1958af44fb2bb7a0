"""Intersection over union of xyxy boxes."""

from __future__ import annotations

import numpy as np


def iou(first: np.ndarray, second: np.ndarray, convention: str = "continuous") -> np.ndarray:
    """Intersection over union, broadcast over the leading dimensions.

    Args:
        first: (..., 4) xyxy.
        second: (..., 4) xyxy; ``first[:, None]`` against ``second[None]`` gives every pair.
        convention: ``continuous`` for half-open edges, ``inclusive`` where both corners are pixels of
            the box, so that a side is x1 - x0 + 1.

    Returns:
        Float64 in [0, 1]; 0 where neither box has an area.

    >>> float(iou(np.array([0, 0, 9, 9]), np.array([0, 0, 9, 19]), "inclusive"))
    0.5
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    edge = 1.0 if convention == "inclusive" else 0.0

    def area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        product: np.ndarray = np.clip(high - low + edge, 0, None).prod(-1)
        return product

    shared = area(np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:]))
    union = area(first[..., :2], first[..., 2:]) + area(second[..., :2], second[..., 2:]) - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
    return overlap


def best_iou(boxes: np.ndarray, truth: np.ndarray, counts: np.ndarray, convention: str) -> np.ndarray:
    """The best overlap of each box with its own ground-truth boxes.

    Args:
        boxes: (R, 4) xyxy.
        truth: (M, 4) xyxy, the ground truth of row 0, then of row 1, ...
        counts: (R,) number of ground-truth boxes of each row; sums to M.
        convention: As in :func:`iou`.

    Returns:
        (R,) float64, NaN where a row has no ground truth.
    """
    best = np.full(len(counts), np.nan)
    some = counts > 0
    if some.any():
        overlaps = iou(np.repeat(boxes, counts, axis=0), truth, convention)
        best[some] = np.maximum.reduceat(overlaps, (np.cumsum(counts) - counts)[some])
    return best


def at_least(overlaps: np.ndarray, deltas: tuple[float, ...], comparator: str = ">=") -> np.ndarray:
    """Whether each overlap reaches each level, (len(deltas), *overlaps.shape) bool.

    Both sides are compared as float32, the type that is stored, so 7/10 reaches 0.7 before and after storing.
    NaN reaches nothing. Under ``>`` an overlap must exceed the level.
    """
    levels = np.asarray(deltas, np.float32).reshape(-1, *[1] * np.ndim(overlaps))
    values = np.asarray(overlaps, np.float32)[None]
    return values > levels if comparator == ">" else values >= levels
