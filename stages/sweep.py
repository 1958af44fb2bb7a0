"""Boxes of the largest component at every threshold, in one pass over a map.

From the highest threshold down foreground only grows, so pixels join one union-find forest in the
order of the thresholds that they first exceed, and the largest component so far is kept on the way.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

# Row and column steps to the neighbours, clockwise: bit b of a neighbourhood code stands for step b.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


@cache
def _representatives(connectivity: int) -> np.ndarray:
    """For each of the 256 neighbourhoods, a bit code with one neighbour of each group to unite with.

    Neighbours that touch each other are in one component already, so one union does for all of them.
    """
    reach = 1 if connectivity == 4 else 2
    table = np.zeros(256, np.uint8)
    for code in range(256):
        present = [bit for bit in range(8) if code >> bit & 1]
        group = {bit: bit for bit in present}
        for _ in present:  # as many rounds as the longest chain can need
            for a in present:
                for b in present:
                    rows, columns = _RING[a][0] - _RING[b][0], _RING[a][1] - _RING[b][1]
                    if rows * rows + columns * columns <= reach:
                        group[a] = group[b] = min(group[a], group[b])
        for label in set(group.values()):
            # With 4 neighbours a corner only joins others; the pixel itself meets the odd bits.
            touching = [bit for bit in present if group[bit] == label and (connectivity == 8 or bit % 2)]
            if touching:
                table[code] |= 1 << touching[0]
    return table


@njit(cache=True, nogil=True)
def root_of(parent: np.ndarray, node: int) -> int:
    """The root of a node's tree; halves the path to it on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _order(heat: np.ndarray, cutoffs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Padded indices of foreground pixels, falling levels in raster order, and where each level ends."""
    height, width = heat.shape
    count = len(cutoffs)
    step = (cutoffs[count - 1] - cutoffs[0]) / max(count - 1, 1)
    scale = 1 / step if step > 0 else 0.0
    levels = np.empty(height * width, np.int32)  # how many cut-offs a pixel exceeds
    ends = np.zeros(count + 1, np.int64)
    for row in range(height):
        for column in range(width):
            value = heat[row, column]
            level = 0
            if value > cutoffs[0]:
                # A guess for even steps, corrected to what the comparisons themselves say.
                level = min(int((value - cutoffs[0]) * scale), count - 1)
                while level < count and value > cutoffs[level]:
                    level += 1
                while level > 0 and value <= cutoffs[level - 1]:
                    level -= 1
                ends[level - 1] += 1
            levels[row * width + column] = level
    total = 0
    for level in range(count - 1, -1, -1):
        here = ends[level]
        ends[level] = total
        total += here
    pixels = np.empty(total, np.int32)
    for row in range(height):
        for column in range(width):
            level = levels[row * width + column]
            if level > 0:
                pixels[ends[level - 1]] = (row + 1) * (width + 2) + column + 1
                ends[level - 1] += 1
    return pixels, ends


@njit(cache=True, nogil=True)
def _sweep(heat: np.ndarray, cutoffs: np.ndarray, representatives: np.ndarray) -> np.ndarray:
    height, width = heat.shape
    stride = width + 2  # a border of background saves every bounds check
    steps = np.array([-stride - 1, -stride, -stride + 1, 1, stride + 1, stride, stride - 1, -1])
    pixels, ends = _order(heat, cutoffs)
    present = np.zeros((height + 2) * stride, np.uint8)
    parent = np.empty((height + 2) * stride, np.int32)
    # What is known of each root. The top row needs no column of its own: it is the first pixel's.
    area = np.empty((height + 2) * stride, np.int32)
    first = np.empty((height + 2) * stride, np.int32)
    bounds = np.empty(((height + 2) * stride, 3), np.int32)  # left, right, bottom
    boxes = np.zeros((len(cutoffs), 4), np.float32)
    best_area, best = 0, -1
    start = 0
    for level in range(len(cutoffs) - 1, -1, -1):
        for position in range(start, ends[level]):
            pixel = pixels[position]
            row, column = pixel // stride, pixel % stride
            code = 0
            for bit in range(8):
                code |= present[pixel + steps[bit]] << bit
            present[pixel] = 1
            root = -1
            code = representatives[code]
            for bit in range(8):
                if not code >> bit & 1:
                    continue
                other = root_of(parent, pixel + steps[bit])
                if root < 0:
                    root = other
                elif root != other:
                    if area[root] < area[other]:
                        root, other = other, root
                    parent[other] = root
                    area[root] += area[other]
                    first[root] = min(first[root], first[other])
                    bounds[root, 0] = min(bounds[root, 0], bounds[other, 0])
                    bounds[root, 1] = max(bounds[root, 1], bounds[other, 1])
                    bounds[root, 2] = max(bounds[root, 2], bounds[other, 2])
            if root < 0:
                root = pixel
                parent[pixel] = pixel
                area[pixel] = 1
                first[pixel] = pixel
                bounds[pixel, 0] = bounds[pixel, 1] = column
                bounds[pixel, 2] = row
            else:
                parent[pixel] = root
                area[root] += 1
                first[root] = min(first[root], pixel)
                bounds[root, 0] = min(bounds[root, 0], column)
                bounds[root, 1] = max(bounds[root, 1], column)
                bounds[root, 2] = max(bounds[root, 2], row)
            if area[root] > best_area or (area[root] == best_area and first[root] < first[best]):
                best_area, best = area[root], root
        start = ends[level]
        if best >= 0:
            boxes[level, 0] = bounds[best, 0] - 1
            boxes[level, 1] = first[best] // stride - 1
            boxes[level, 2] = bounds[best, 1]
            boxes[level, 3] = bounds[best, 2]
    return boxes


def sweep_boxes(heat: np.ndarray, thresholds: np.ndarray, connectivity: int) -> np.ndarray:
    """Box of the largest component of ``heat > threshold`` at every threshold.

    Ties go to the component whose first pixel in raster order comes first, as in
    :func:`stages.largest.largest_pixels`.

    Args:
        heat: (h, w) float32.
        thresholds: (T,) ascending; compared as float32. Evenly spaced ones are fastest.
        connectivity: 4 or 8.

    Returns:
        (T, 4) float32 xyxy, half-open pixel edges; zeros where nothing is above the threshold.
    """
    cutoffs = np.ascontiguousarray(thresholds, dtype=np.float32)
    return _sweep(np.ascontiguousarray(heat, dtype=np.float32), cutoffs, _representatives(connectivity))
