"""Boxes in the frame and convention in which a protocol scores them."""

from __future__ import annotations

import numpy as np

from stages.boxes.protocols import Protocol
from stages.ingest.geometry import to_input

# Far above the rounding of an affine map, far below the 1 / width between two truncated coordinates.
_ROUNDING = 1e-9


def scored_truth(boxes: np.ndarray, transform: np.ndarray, protocol: Protocol, size: int) -> np.ndarray:
    """Ground truth as the protocol scores it.

    For an image that was squashed to the frame, ``resized`` with ``inclusive`` is wsolevaluation's
    ``int(x * size / width)`` of the inclusive corners. Whatever other fits cut off is clipped.

    Args:
        boxes: (M, 4) xyxy, half-open displayed pixels.
        transform: (M, 4) (sx, sy, tx, ty), displayed pixels to the input frame, of each box's image.
        protocol: Rules; ``frame`` and ``iou`` apply.
        size: Side of the input frame.

    Returns:
        (M, 4) float64.
    """
    boxes = np.asarray(boxes, np.float64)
    corners: np.ndarray = boxes - np.array([0, 0, 1, 1])
    if protocol.frame == "original":
        return boxes if protocol.iou == "continuous" else corners
    if protocol.iou == "continuous":
        edges: np.ndarray = np.clip(to_input(boxes, transform), 0, size)
        return edges
    whole: np.ndarray = np.clip(np.floor(to_input(corners, transform) + _ROUNDING), 0, size - 1)
    return whole


def scored_in_frame(boxes: np.ndarray, protocol: Protocol, size: int) -> np.ndarray:
    """Predicted boxes of the input frame as a ``resized`` protocol scores them.

    Args:
        boxes: (..., 4) xyxy, half-open edges of the input frame.
        protocol: Rules; ``iou`` applies.
        size: Side of the input frame.

    Returns:
        A new (..., 4); ``inclusive`` takes the exclusive edge as a corner, which ``clip`` keeps within the frame.
    """
    last = size - 1 if protocol.iou == "inclusive" and protocol.far_edge == "clip" else size
    scored: np.ndarray = np.minimum(boxes, last)
    return scored


def scored_displayed(boxes: np.ndarray, transform: np.ndarray, protocol: Protocol, size: int) -> np.ndarray:
    """Predicted boxes of the displayed image as the protocol scores them.

    Args:
        boxes: (N, 4) xyxy, half-open displayed pixels; without area where nothing was predicted.
        transform: (N, 4), displayed pixels to the input frame.
        protocol: Rules; ``frame``, ``iou`` and ``empty`` apply.
        size: Side of the input frame.

    Returns:
        A new (N, 4) float32.
    """
    scored = np.array(boxes, np.float32)
    if protocol.frame == "resized":
        scored = scored_in_frame(np.maximum(to_input(boxes, transform), 0), protocol, size).astype(np.float32)
    scored[~(boxes[:, 2:] > boxes[:, :2]).all(1)] = scored_empty(protocol)
    return scored


def scored_empty(protocol: Protocol) -> np.ndarray:
    """The (4,) float32 box that a map without foreground is scored as, in the scoring frame."""
    side = {"none": 0, "origin": 1, "corner": 2}[protocol.empty]
    far = side - (protocol.iou == "inclusive")
    return np.array([0, 0, far, far], np.float32)
