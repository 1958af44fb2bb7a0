"""The size rule: boxes of small objects, which their maps make too large, are made smaller."""

from __future__ import annotations

import numpy as np


def shrunk(boxes: np.ndarray, size: int, shrink: float) -> np.ndarray:
    """Boxes by the protocol's field ``shrink``.

    Args:
        boxes: (n, 4) float32 xyxy in the network's input frame, zeros where there is none.
        size: Side of that frame in pixels.
        shrink: Share of the side below which a box's sides shrink, in [0, 1).

    Returns:
        (n, 4) float32, the boxes themselves where ``shrink`` is 0.

    >>> shrunk(np.array([[80, 80, 120, 120], [0, 0, 200, 200]], np.float32), 200, 0.4)
    array([[ 90.,  90., 110., 110.],
           [  0.,   0., 200., 200.]], dtype=float32)
    """
    if not shrink or not len(boxes):
        return boxes
    corners = boxes.astype(np.float64).reshape(-1, 2, 2)
    sides = corners[:, 1] - corners[:, 0]
    factor = np.minimum(np.sqrt(sides.prod(1)) / size / shrink, 1)
    centres = corners.mean(1, keepdims=True)
    found: np.ndarray = centres + (corners - centres) * factor[:, None, None]
    return found.reshape(-1, 4).astype(np.float32)
