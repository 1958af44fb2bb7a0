"""Box of the component with the most pixels, from the runs of foreground in each row of a mask."""

from __future__ import annotations

import numpy as np

from stages.boxes.all_thresholds import root_of
from stages.boxes.compiled import compiled


@compiled
def _largest(mask: np.ndarray, reach: int) -> np.ndarray:
    height, width = mask.shape
    most = height * (width // 2 + 1)
    starts, ends = np.empty(most, np.int32), np.empty(most, np.int32)
    parent = np.empty(most, np.int32)  # the root of a component is its first run in raster order
    rows = np.empty(height + 1, np.int32)  # where each row's runs begin
    runs = 0
    for y in range(height):
        rows[y] = runs
        above, above_end = (rows[y - 1], runs) if y else (0, 0)
        x = 0
        while x < width:
            if not mask[y, x]:
                x += 1
                continue
            start = x
            while x < width and mask[y, x]:
                x += 1
            starts[runs], ends[runs], parent[runs] = start, x, runs
            # Runs of the row above that touch this one; the last of them may also touch the next one.
            while above < above_end and ends[above] + reach <= start:
                above += 1
            touching = above
            while touching < above_end and starts[touching] < x + reach:
                first, second = root_of(parent, runs), root_of(parent, touching)
                parent[max(first, second)] = min(first, second)
                touching += 1
            runs += 1
    rows[height] = runs
    area = np.zeros(runs, np.int32)
    for run in range(runs):
        area[root_of(parent, run)] += ends[run] - starts[run]
    box = np.zeros(4, np.float32)
    if runs == 0:
        return box
    chosen = np.argmax(area)  # the first of equals, and roots are in raster order
    left, right, top, bottom = width, 0, height, 0
    for y in range(height):
        for run in range(rows[y], rows[y + 1]):
            if root_of(parent, run) == chosen:
                left, right = min(left, starts[run]), max(right, ends[run])
                top, bottom = min(top, y), y + 1
    box[0], box[1], box[2], box[3] = left, top, right, bottom
    return box


def largest_pixels(mask: np.ndarray, connectivity: int) -> np.ndarray | None:
    """Box of the component with the most pixels.

    Among equals it is the one whose first pixel comes first in raster order.

    Args:
        mask: (h, w) bool.
        connectivity: 4 or 8.

    Returns:
        (4,) float32 xyxy, half-open pixel edges; None where the mask is empty.
    """
    box = _largest(np.ascontiguousarray(mask), 1 if connectivity == 8 else 0)
    return box if box[2] > 0 else None
