"""Boxes of several labels of one image that are almost the same."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline.store.rundir import RunDir
from stages.boxes.iou import iou

SAME = 0.7
"""IoU above which the boxes of two labels tell no two objects apart."""


def overlapping_labels(run: RunDir, method: str) -> dict[str, Any]:
    """How many pairs of labels of one image have boxes with an overlap above :data:`SAME`.

    Args:
        run: A run whose shards are all committed.
        method: Entry of ``explain.methods``.

    Returns:
        ``pairs`` of labels that have a box each, and how many of them are ``overlapping``.
    """
    pairs = overlapping = 0
    for part in run.predictions(["image_id", "method", "target_rank", "box_status", "box"]):
        own = part.filter(
            (pc.field("method") == method) & (pc.field("target_rank") == 0) & (pc.field("box_status") == "ok")
        )
        boxes = pc.list_flatten(own["box"]).to_numpy().reshape(-1, 4)
        ids = own["image_id"].to_numpy()  # The rows of an image follow one another.
        for labels in np.split(boxes, np.flatnonzero(np.diff(ids)) + 1):
            found = [float(iou(one, other)) > SAME for one, other in combinations(labels, 2)]
            pairs, overlapping = pairs + len(found), overlapping + sum(found)
    return {"pairs": pairs, "overlapping": overlapping}
