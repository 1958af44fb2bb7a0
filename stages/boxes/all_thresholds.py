"""Boxes of components at every threshold, in one pass over a map.

From the highest threshold down, the foreground only grows, so pixels join one union-find forest in the order of
the thresholds that they first exceed. A threshold that no pixel is the first to exceed repeats the boxes of the
one above.

Contours need no tracing. The polygon that encloses a component is the component with everything inside it: what
a flood from the border cannot reach. A flood that rises through the thresholds gives each pixel the threshold
at which it is first reached (Soille and Ansoult 1990: filling by reconstruction), and the components of that
map are the filled components at every threshold. The area of the polygon through the centres of their border
pixels is counted in 2 x 2 squares: 1 for four pixels, 1/2 for three. The box of a hole's contour is that of the
hole, one pixel larger on each side.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from stages.boxes.compiled import compiled

COMPONENTS = ("largest_pixels", "largest_contour", "largest_rectangle", "all", "peak")
"""Components that :func:`sweep_boxes` can choose."""

_PIXELS, _CONTOUR, _RECTANGLE, _ALL, _PEAK = range(len(COMPONENTS))
_SIZE, _FIRST, _LEFT, _RIGHT, _BOTTOM = range(5)

# Row and column steps to the neighbours, clockwise: bit b of a neighbourhood code stands for step b.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


@cache
def _representatives(connectivity: int) -> np.ndarray:
    """For each of the 256 neighbourhoods, the bits of one neighbour of each group to unite with.

    Neighbours that touch each other are in one component already, so one union suffices for all of them.

    Returns:
        (256, 5) int8: the number of groups, at most 4, and one bit of each.
    """
    reach = 1 if connectivity == 4 else 2
    table = np.zeros((256, 5), np.int8)
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
                table[code, 0] += 1
                table[code, table[code, 0]] = touching[0]
    return table


@compiled
def root_of(parent: np.ndarray, node: Any) -> Any:
    """The root of a node's tree, of the node's integer type; halves the path to it on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@cache
def _squares() -> np.ndarray:
    """For each neighbourhood, the number of half squares by which a new pixel enlarges the polygon: (256,) int32.

    That is the number of 2 x 2 squares of the pixel in which at least two others are present.
    """
    corners = ((7, 0, 1), (1, 2, 3), (3, 4, 5), (5, 6, 7))
    codes = np.arange(256)[:, None, None] >> np.array(corners) & 1
    squares: np.ndarray = (codes.sum(2) >= 2).sum(1).astype(np.int32)
    return squares


@compiled
def _levels(heat: np.ndarray, cutoffs: np.ndarray) -> np.ndarray:
    """Number of cut-offs that each pixel exceeds."""
    height, width = heat.shape
    count = len(cutoffs)
    step = (cutoffs[count - 1] - cutoffs[0]) / max(count - 1, 1)
    scale = 1 / step if step > 0 else 0.0
    levels = np.zeros((height, width), np.int32)
    for row in range(height):
        for column in range(width):
            value = heat[row, column]
            if value > cutoffs[0]:
                # A guess for even steps, corrected by the comparisons themselves.
                level = int(min((value - cutoffs[0]) * scale, count - 1))
                while level < count and value > cutoffs[level]:
                    level += 1
                while level > 0 and value <= cutoffs[level - 1]:
                    level -= 1
                levels[row, column] = level
    return levels


@compiled
def _filled(levels: np.ndarray, count: int) -> np.ndarray:
    """The levels with every hole filled: how high a flood must rise to reach a pixel from outside.

    The flood is carried along the rows, down and up again, until nothing changes (Vincent 1993, the sequential
    algorithm): about three times for maps of a network, a hundred for a labyrinth.
    """
    height, width = levels.shape
    reached = levels.copy()
    reached[1 : height - 1, 1 : width - 1] = count
    changed = True
    while changed:
        changed = False
        for row in range(1, height - 1):
            for column in range(1, width - 1):
                around = min(reached[row - 1, column], reached[row, column - 1])
                now = max(levels[row, column], min(reached[row, column], around))
                if now != reached[row, column]:
                    reached[row, column] = now
                    changed = True
        for row in range(height - 2, 0, -1):
            for column in range(width - 2, 0, -1):
                around = min(reached[row + 1, column], reached[row, column + 1])
                now = max(levels[row, column], min(reached[row, column], around))
                if now != reached[row, column]:
                    reached[row, column] = now
                    changed = True
    return reached


def _bits(width: int) -> int:
    """Bits of the column in a pixel's padded index ``row << bits | column``, which gives the row without a division."""
    return (width + 1).bit_length()


@compiled
def _order(levels: np.ndarray, count: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Padded indices of foreground pixels, by falling level, then in raster order, and where each level ends."""
    height, width = levels.shape
    ends = np.zeros(count + 1, np.int64)
    for row in range(height):
        for column in range(width):
            if levels[row, column] > 0:
                ends[levels[row, column] - 1] += 1
    total = 0
    for level in range(count - 1, -1, -1):
        here = ends[level]
        ends[level] = total
        total += here
    pixels = np.empty(total, np.int32)
    for row in range(height):
        for column in range(width):
            level = levels[row, column]
            if level > 0:
                pixels[ends[level - 1]] = (row + 1) << bits | column + 1
                ends[level - 1] += 1
    return pixels, ends


@compiled
def _sweep(
    levels: np.ndarray,
    count: int,
    bits: int,
    representatives: np.ndarray,
    gains: np.ndarray,
    choice: int,
    peak: int,
    everything: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen box at each level, (T, 4), and, if asked for, all boxes: (M, 5) level, xyxy."""
    height = levels.shape[0]
    stride = 1 << bits  # includes a border of background, which saves every bounds check
    pixels, ends = _order(levels, count, bits)
    # Numba tests whether a signed index counts from the end; none of these does, so they are unsigned.
    one, wide = np.uint64(1), np.uint64(stride)
    steps = np.array([-stride - 1, -stride, -stride + 1, 1, stride + 1, stride, stride - 1, -1]).astype(np.uint64)
    present = np.zeros((height + 2) * stride, np.uint8)
    # The forest is one of components, not of pixels: small enough to stay in the cache.
    label = np.empty((height + 2) * stride, np.uint32)
    parent = np.empty(len(pixels), np.uint32)
    # Of each root, adjacent in memory: size, first pixel, left, right, bottom. The top row needs no column: it
    # is the first pixel's.
    known = np.empty((len(pixels), 5), np.int32)
    roots = np.empty(len(pixels), np.uint32)
    made = alive = 0
    boxes = np.zeros((count, 4), np.float32)
    found = np.empty((4 * count if everything else 1, 5), np.float32)
    total = 0
    start = 0
    root: Any = np.uint32(0)
    for level in range(count - 1, -1, -1):
        if start == ends[level] and level < count - 1:
            boxes[level] = boxes[level + 1]
        last = -1
        for position in range(start, ends[level]):
            place = pixels[position]
            pixel, row, column = np.uint64(place), np.int32(place >> bits), np.int32(place & (stride - 1))
            above, below = pixel - wide, pixel + wide
            code = present[above - one] | present[above] << 1 | present[above + one] << 2 | present[pixel + one] << 3
            code |= present[below + one] << 4 | present[below] << 5 | present[below - one] << 6
            code |= present[pixel - one] << 7
            present[pixel] = 1
            groups = representatives[code, 0]
            follows, last = place == last + 1, place
            if groups == 0:
                root = np.uint32(made)
                parent[made] = label[pixel] = roots[alive] = root
                known[root, _SIZE], known[root, _FIRST] = gains[code], place
                known[root, _LEFT] = known[root, _RIGHT] = column
                known[root, _BOTTOM] = row
                made += 1
                alive += 1
                continue
            if groups == 1 and follows:  # The previous pixel is in the only component: no root to find.
                label[pixel] = root
                known[root, _SIZE] += gains[code]
                known[root, _RIGHT] = max(known[root, _RIGHT], column)
                continue
            root = root_of(parent, label[pixel + steps[representatives[code, 1]]])
            for group in range(2, groups + 1):
                other = root_of(parent, label[pixel + steps[representatives[code, group]]])
                if root != other:
                    if known[root, _SIZE] < known[other, _SIZE]:
                        root, other = other, root
                    parent[other] = root
                    known[root, _SIZE] += known[other, _SIZE]
                    known[root, _FIRST] = min(known[root, _FIRST], known[other, _FIRST])
                    known[root, _LEFT] = min(known[root, _LEFT], known[other, _LEFT])
                    known[root, _RIGHT] = max(known[root, _RIGHT], known[other, _RIGHT])
                    known[root, _BOTTOM] = max(known[root, _BOTTOM], known[other, _BOTTOM])
            label[pixel] = root
            known[root, _SIZE] += gains[code]
            known[root, _FIRST] = min(known[root, _FIRST], place)
            known[root, _LEFT] = min(known[root, _LEFT], column)
            known[root, _RIGHT] = max(known[root, _RIGHT], column)
            known[root, _BOTTOM] = max(known[root, _BOTTOM], row)
        changed = start < ends[level]
        start = ends[level]
        if not changed and not everything:
            continue
        kept, best, best_size = 0, -1, -1
        for position in range(alive):
            root = roots[position]
            if parent[root] != root:
                continue
            roots[kept] = root
            kept += 1
            top = known[root, _FIRST] >> bits
            if everything:
                if total == len(found):
                    larger = np.empty((2 * total, 5), np.float32)
                    larger[:total] = found
                    found = larger
                found[total, 0] = level
                found[total, 1], found[total, 2] = known[root, _LEFT] - 1, top - 1
                found[total, 3], found[total, 4] = known[root, _RIGHT], known[root, _BOTTOM]
                total += 1
            size = known[root, _SIZE]
            if choice == _RECTANGLE:
                size = (known[root, _RIGHT] - known[root, _LEFT] + 1) * (known[root, _BOTTOM] - top + 1)
            earlier = best >= 0 and known[root, _FIRST] < known[best, _FIRST]
            if size > best_size or (size == best_size and earlier != (choice == _CONTOUR)):
                best_size, best = size, root
        alive = kept
        if best < 0:
            continue
        if choice == _PEAK:
            best = root_of(parent, label[peak])
        left, right = known[best, _LEFT], known[best, _RIGHT]
        upper, lower = known[best, _FIRST] >> bits, known[best, _BOTTOM]
        if choice == _ALL:
            for position in range(alive):
                root = roots[position]
                left, right = min(left, known[root, _LEFT]), max(right, known[root, _RIGHT])
                upper, lower = min(upper, known[root, _FIRST] >> bits), max(lower, known[root, _BOTTOM])
        boxes[level, 0], boxes[level, 1], boxes[level, 2], boxes[level, 3] = left - 1, upper - 1, right, lower
    return boxes, found[:total]


def sweep_boxes(
    heat: np.ndarray, thresholds: np.ndarray, connectivity: int, component: str = "largest_pixels"
) -> np.ndarray:
    """Box of the chosen component of ``heat > threshold`` at every threshold.

    Ties go to the component whose first pixel in raster order comes first, as in
    :func:`stages.boxes.largest.largest_pixels`; among contours to the one whose first pixel comes last, which
    is the first in OpenCV's order.

    Args:
        heat: (h, w) float32.
        thresholds: (T,) ascending; compared as float32. Evenly spaced ones are fastest.
        connectivity: 4 or 8; contours are 8-connected.
        component: One of :data:`COMPONENTS`, as :class:`stages.boxes.protocols.Protocol` explains them.

    Returns:
        (T, 4) float32 xyxy, half-open pixel edges; zeros where nothing is above the threshold.
    """
    levels, count = _prepared(heat, thresholds)
    choice = COMPONENTS.index(component)
    gains = _squares() if choice == _CONTOUR else np.ones(256, np.int32)
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    bits = _bits(heat.shape[1])
    peak = (row + 1) << bits | column + 1
    if choice == _CONTOUR:
        levels = _filled(levels, count)
    found: np.ndarray = _sweep(levels, count, bits, _representatives(connectivity), gains, choice, peak, False)[0]
    return found


def sweep_contours(heat: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Boxes of all contours of ``heat > threshold`` at every threshold, those of holes included.

    Args:
        heat: (h, w) float32.
        thresholds: (T,) ascending; compared as float32. Evenly spaced ones are fastest.

    Returns:
        (M, 5) float32: index of the threshold, ascending, and xyxy, half-open pixel edges, in no order.
    """
    levels, count = _prepared(heat, thresholds)
    ones = np.ones(256, np.int32)
    outer = _sweep(levels, count, _bits(levels.shape[1]), _representatives(8), ones, _PIXELS, 0, True)[1]
    # Holes are the components of the background that do not contain the frame around the map.
    below = np.pad(count - levels, 1, constant_values=count)
    holes = _sweep(below, count, _bits(below.shape[1]), _representatives(4), ones, _PIXELS, 0, True)[1]
    holes = holes[holes[:, 1] > 0]
    # One pixel larger, and shifted back from the padded frame; level l of the inverse is background at count - 1 - l.
    holes = np.column_stack([count - 1 - holes[:, 0], holes[:, 1:3] - 2, holes[:, 3:5]])
    both = np.concatenate([outer, holes]).astype(np.float32)
    return both[np.argsort(both[:, 0], kind="stable")]


def _prepared(heat: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, int]:
    cutoffs = np.ascontiguousarray(thresholds, dtype=np.float32)
    return _levels(np.ascontiguousarray(heat, dtype=np.float32), cutoffs), len(cutoffs)
