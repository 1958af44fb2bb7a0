"""Overlap of every prediction with its image's ground truth."""

from __future__ import annotations

import numpy as np

from stages.batch import Batch, Resources, ragged
from stages.boxes.frame import scored_truth
from stages.boxes.iou import at_least, best_iou, iou
from stages.boxes.protocols import Protocol


class Evaluate:
    """Scores boxes against the ground truth of the image's label.

    Adds ``iou`` (R,) float32, the best over the image's ground-truth boxes, NaN without any; ``hits``
    (R, len(deltas)) bool, whether it reaches each IoU level; and, for rows with a sweep, ``sweep_hits``
    (len(deltas), T) bool, whether the chosen component's box at a threshold reaches the level, and
    ``sweep_hits_v2``, whether any contour's box does (None where MaxBoxAccV2 also uses the chosen one). Drops
    the boxes that it scored, and the ``label`` of excluded images, which becomes -1, so that counts by label
    leave them out.
    """

    reads = ("image_id", "label", "target_rank", "scored_box", "sweep_box", "sweep_all", "transform", "boxes")
    adds = ("iou", "hits", "sweep_hits", "sweep_hits_v2")
    resources = Resources(cpus=1)

    def __init__(
        self, protocol: Protocol, size: int, deltas: tuple[float, ...], excluded: np.ndarray | None = None
    ) -> None:
        """Prepare the stage.

        Args:
            protocol: Rules; ``frame``, ``iou`` and comparators apply.
            size: Side of the network's input frame.
            deltas: IoU levels from which on a box is right.
            excluded: (n,) ids of images that are not scored, as if they had no label and no ground truth.
        """
        self.excluded = np.zeros(0, np.int64) if excluded is None else excluded
        self.protocol = protocol
        self.size = size
        self.deltas = deltas

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Score every row."""
        own_boxes = batch["boxes"].copy()
        excluded = np.isin(batch["image_id"], self.excluded)
        for left_out in np.flatnonzero(excluded):
            own_boxes[left_out] = np.zeros((0, 4), np.float32)
        counts = np.array([len(boxes) for boxes in own_boxes], np.int64)
        truth = np.concatenate([np.zeros((0, 4)), *own_boxes])
        truth = scored_truth(truth, np.repeat(batch["transform"], counts, axis=0), self.protocol, self.size)
        best = best_iou(batch["scored_box"], truth, counts, self.protocol.iou).astype(np.float32)
        hits, hits_v2 = ragged([None] * len(counts)), ragged([None] * len(counts))
        ends = np.cumsum(counts)
        for row, boxes in enumerate(batch["sweep_box"]):
            if boxes is None or not counts[row]:
                continue
            own = truth[ends[row] - counts[row] : ends[row]]
            hits[row] = self._hits(boxes, own)
            if (others := batch["sweep_all"][row]) is not None:
                starts = np.searchsorted(others[:, 0], np.arange(len(boxes)))
                hits_v2[row] = np.logical_or.reduceat(self._hits(others[:, 1:], own), starts, axis=1)
        dropped = ("scored_box", "sweep_box", "sweep_all")
        kept = {name: column for name, column in batch.items() if name not in dropped}
        reached = np.where(
            (batch["target_rank"] > 0)[:, None],
            at_least(best, self.deltas, self.protocol.topk_iou_comparator).T,
            at_least(best, self.deltas, self.protocol.iou_comparator).T,
        )
        kept["label"] = np.where(excluded, np.int32(-1), batch["label"])
        return {**kept, "iou": best, "hits": reached, "sweep_hits": hits, "sweep_hits_v2": hits_v2}

    def _hits(self, boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """(len(deltas), n) bool: whether each box reaches each IoU with any ground-truth box."""
        overlaps = iou(boxes[:, None], truth[None], self.protocol.iou).max(1)
        return at_least(overlaps, self.deltas, self.protocol.iou_comparator)
