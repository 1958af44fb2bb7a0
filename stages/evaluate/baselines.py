"""What a method must beat: predictors that look at no pixel, scored under the same protocol."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.components import sweep
from stages.evaluate import bootstrap, curve
from stages.evaluate.frame import scored_in_frame, scored_truth
from stages.evaluate.iou import at_least, best_iou
from stages.evaluate.protocols import Protocol
from stages.threshold import heat

SIGMA = 0.25
"""Of the centred Gaussian, in sides of the frame. The sweep gives boxes of all sizes, so that MaxBoxAcc
hardly depends on it."""


class _Truth:
    """Images with ground truth, ready to be scored against one box of the frame for all."""

    def __init__(self, sizes: np.ndarray, boxes: np.ndarray, protocol: Protocol, size: int) -> None:
        counts = np.array([len(image) for image in boxes], np.int64)
        self.sizes = np.asarray(sizes, np.float64).reshape(-1, 2)[counts > 0]
        self.counts = counts[counts > 0]
        self.protocol = protocol
        self.size = size
        squash = np.column_stack([size / self.sizes, np.zeros_like(self.sizes)])
        truth = np.concatenate([np.zeros((0, 4)), *boxes])
        self.boxes = scored_truth(truth, np.repeat(squash, self.counts, axis=0), protocol, size)

    def overlaps(self, box: np.ndarray) -> np.ndarray:
        """(n,) best IoU of each image with the (4,) box of the frame, half-open edges."""
        if self.protocol.frame == "original":
            predicted = box * np.tile(self.sizes, 2) / self.size
        else:
            predicted = np.tile(scored_in_frame(box, self.protocol, self.size), (len(self.counts), 1))
        return best_iou(predicted, self.boxes, self.counts, self.protocol.iou)


def full_image(
    sizes: np.ndarray,
    boxes: np.ndarray,
    protocol: Protocol,
    size: int,
    deltas: tuple[float, ...],
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of predicting the whole image every time.

    Args:
        sizes: (N, 2) displayed width and height.
        boxes: (N,) object, each (n, 4) ground truth, xyxy half-open displayed pixels; images without
            any are not counted.
        protocol: Its ``frame`` and ``iou`` apply; images are squashed to the ``resized`` frame.
        size: Side of that frame.
        deltas: IoU levels.
        seed: Of the intervals.

    Returns:
        ``gt_known_loc`` at each delta and ``mean_iou``; nothing where no image has a box.
    """
    truth = _Truth(sizes, boxes, protocol, size)
    n = len(truth.counts)
    if not n:
        return {}
    overlaps = truth.overlaps(np.array([0, 0, size, size], np.float64))
    return {
        "gt_known_loc": bootstrap.proportions(at_least(overlaps, deltas).sum(1), n, deltas, seed),
        "mean_iou": bootstrap.mean(overlaps, seed),
    }


def center_gaussian(
    sizes: np.ndarray, boxes: np.ndarray, protocol: Protocol, size: int, deltas: tuple[float, ...]
) -> dict[str, Any]:
    """Scores of a Gaussian in the middle of the frame as everybody's map.

    Args:
        sizes: (N, 2) displayed width and height.
        boxes: (N,) object, as in :func:`full_image`.
        protocol: All of it but ``resize`` applies.
        size: Side of the frame.
        deltas: IoU levels.

    Returns:
        What :func:`stages.evaluate.curve.box_accuracy` gives; nothing where no image has a box.
    """
    truth = _Truth(sizes, boxes, protocol, size)
    if not len(truth.counts):
        return {}
    offset = (np.arange(size) + 0.5) / size - 0.5
    gaussian = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * SIGMA**2))
    # A Gaussian has one component at any threshold, so all contours are the chosen one.
    swept, _ = sweep(heat(gaussian, protocol, size), protocol)
    distinct, index = np.unique(swept, axis=0, return_inverse=True)
    hits = np.stack([at_least(truth.overlaps(box), deltas).sum(1) for box in distinct], axis=1)[:, index]
    return curve.box_accuracy(len(truth.counts), hits, protocol.sweep_thresholds(), deltas)
