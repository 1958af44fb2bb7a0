"""Clipping of ground-truth boxes as datasets provide them."""

from __future__ import annotations

import numpy as np


def clip_boxes(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes clipped to the image, without those that are inverted, empty or outside.

    Args:
        boxes: (n, 4) xyxy pixel edges, any numeric type.
        width: Displayed width in pixels; 0 where it is unknown, and then nothing is clipped.
        height: Displayed height in pixels; 0 where it is unknown.

    Returns:
        (m, 4) float32 boxes and the (n,) mask of the boxes that are kept.
    """
    edges = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    if width and height:
        edges = np.clip(edges, 0, np.array([width, height, width, height], dtype=np.float32))
    # Clipping keeps the order of two edges or makes them equal, so one test finds all three kinds.
    kept = np.all(edges[:, :2] < edges[:, 2:], axis=1, keepdims=False)
    return edges[kept], kept


def count_clipped(boxes: np.ndarray, clipped: np.ndarray) -> int:
    """Number of boxes that lost more than the pixel that rounding may cost.

    Args:
        boxes: (m, 4) xyxy pixel edges of the boxes that :func:`clip_boxes` keeps.
        clipped: (m, 4) the same, clipped.

    >>> count_clipped(np.array([[-5, 2, 8, 30], [6, 2, 10.5, 9]]), np.array([[0, 2, 8, 20], [6, 2, 10, 9]]))
    1
    """
    return int((np.abs(boxes - clipped) > 1).any(axis=1).sum())
