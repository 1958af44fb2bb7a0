"""Boxes as a head learns them: of the largest object of an image's label, as shares of the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.ingest.geometry import fit_transforms, to_displayed, to_input
from stages.ingest.records import ImageRecord


def learnt_boxes(
    records: Sequence[ImageRecord], size: int, fit: str, crop_ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """The box that a head shall give for each image, and whether there is one.

    Args:
        records: The images, with their displayed sizes.
        size: Side of the network's input in pixels.
        fit: How images become square.
        crop_ratio: Share of the shorter side that a centre crop keeps.

    Returns:
        (n, 4) float32, x and y of the centre, width and height, as shares of the input; and (n,) bool. A box that a
        crop has nothing of is none.
    """
    found = np.zeros((len(records), 4))
    for row, record in enumerate(records):
        own = record.boxes[record.box_labels == record.label]
        if len(own):
            found[row] = own[np.argmax((own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1]))]
    inside = np.clip(to_input(found, _transforms(records, size, fit, crop_ratio)) / size, 0, 1)
    sides = inside[:, 2:] - inside[:, :2]
    boxes = np.concatenate([(inside[:, :2] + inside[:, 2:]) / 2, sides], axis=1)
    return boxes.astype(np.float32), np.asarray((sides > 0).all(1))


def displayed_boxes(
    boxes: np.ndarray, records: Sequence[ImageRecord], size: int, fit: str, crop_ratio: float
) -> np.ndarray:
    """Boxes that a head gives in the displayed images: the inverse of :func:`learnt_boxes`.

    Args:
        boxes: (n, 4) x and y of the centre, width and height, as shares of the input.
        records: The images.
        size: Side of the network's input in pixels.
        fit: How images become square.
        crop_ratio: Share of the shorter side that a centre crop keeps.

    Returns:
        (n, 4) float32 xyxy, clipped to the image.
    """
    centre, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    edges = np.concatenate([centre - half, centre + half], axis=1) * size
    widths, heights = (np.array([getattr(record, side) for record in records]) for side in ("width", "height"))
    return to_displayed(edges, _transforms(records, size, fit, crop_ratio), widths, heights)


def _transforms(records: Sequence[ImageRecord], size: int, fit: str, crop_ratio: float) -> np.ndarray:
    widths, heights = (np.array([getattr(record, side) for record in records]) for side in ("width", "height"))
    return fit_transforms(widths, heights, size, fit, crop_ratio)
