"""Boxes that datasets give by their first and last pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.formats.source import Notes
from stages.ingest.clip import clip_boxes, count_clipped


def half_open(
    corners: Sequence[Sequence[float]], width: int, height: int, notes: Notes
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes by their edges, clipped where the size of the image is known.

    Args:
        corners: Inclusive pixels xmin, ymin, xmax, ymax, counted from 0, of each box.
        width: Width of the image in pixels; 0 where it is unknown.
        height: Height of the image in pixels; 0 where it is unknown.
        notes: Told of boxes that are dropped or clipped.

    Returns:
        (m, 4) float32 xyxy half-open edges, and the (n,) mask of the boxes that are kept.
    """
    edges = np.array(corners, dtype=np.float32).reshape(-1, 4) + np.array([0, 0, 1, 1], dtype=np.float32)
    boxes, kept = clip_boxes(edges, width, height)
    notes.count("boxes dropped: inverted or outside their image", len(kept) - len(boxes))
    notes.count("boxes clipped: they end outside their image", count_clipped(edges[kept], boxes))
    return boxes, kept
