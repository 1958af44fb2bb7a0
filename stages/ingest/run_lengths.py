"""Object masks as COCO's compressed run lengths: small enough for a manifest, decoded where they are scored.

pycocotools trusts what it is given: a string that ends in the middle of a number makes it read and write beyond its
buffers, and the points of a polygon cost memory by their distance. Everything from a file is checked here first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as rle

MAX_PIXELS = 89_478_485
"""Largest width x height of a mask, that of the largest image; a decoded mask has a byte a pixel."""
_MOST_GROUPS = 7  # 35 bits: more than MAX_PIXELS, and far from an overflow.


def encode_segmentation(segmentation: Any, width: int, height: int) -> bytes:
    """A COCO ``segmentation`` as run lengths.

    Args:
        segmentation: Polygons, a list of flat lists x0, y0, x1, y1, ..., of which those without an area are left
            out; one such list; or an RLE with ``size`` and ``counts``, compressed or not.
        width: Displayed width of the image in pixels.
        height: Displayed height of the image in pixels.

    Returns:
        Compressed run lengths of a (height, width) mask.

    Raises:
        ValueError: The segmentation is neither of the two, or has another size; the message says what is wrong.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"its image has {width} x {height} pixels, more than the {MAX_PIXELS} of the largest mask")
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, width, height)
    parts = [segmentation] if _is_polygon(segmentation) else segmentation
    numeric = isinstance(parts, list) and all(_is_polygon(one) for one in parts)
    # Two points are no area, and four numbers would be taken for a box.
    polygons = [one for one in parts if len(one) >= 6] if numeric else []
    if not polygons:
        raise ValueError("its segmentation is not a list of polygons of three or more finite points")
    polygons = [_clipped(one, width, height) for one in polygons]
    merged: bytes = rle.merge(rle.frPyObjects(polygons, height, width))["counts"]
    return merged


def counts_of(compressed: bytes) -> np.ndarray:
    """The run lengths, int64, that a compressed string stands for.

    Each number is written in groups of five bits, lowest first, in characters from "0"; the sixth bit says that a
    group follows, the fifth bit of the last group is the sign. From the fourth number on, the difference to the last
    but one is written (``rleFrString`` of COCO's API).

    Raises:
        ValueError: It is no such string.

    >>> counts_of(b"52203").tolist()
    [5, 2, 2, 2, 5]
    """
    groups = np.frombuffer(compressed, np.uint8).astype(np.int64) - ord("0")
    if ((groups < 0) | (groups > 63)).any():
        raise ValueError("it has other characters than those of run lengths")
    if not len(groups):
        return groups
    last = (groups & 32) == 0
    if not last[-1]:
        raise ValueError("it ends in the middle of a number")
    starts = np.flatnonzero(np.append(True, last[:-1]))
    lengths = np.diff(np.append(starts, len(groups)))
    if lengths.max() > _MOST_GROUPS:
        raise ValueError("it has a number that is larger than any image")
    shift = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    values = np.add.reduceat((groups & 31) << shift, starts)
    values -= np.where(groups[last] & 16, np.int64(1) << 5 * lengths, 0)
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values


def is_empty(segmentation: Any) -> bool:
    """Whether a COCO ``segmentation`` says that there is no mask: null, ``[]``, ``[[]]``."""
    return not segmentation or (isinstance(segmentation, list) and not any(one or one == 0 for one in segmentation))


def extent(mask: bytes, width: int, height: int) -> list[float]:
    """The box x0, y0, x1, y1 of a mask's pixels."""
    x, y, w, h = rle.toBbox({"size": [height, width], "counts": mask}).tolist()
    return [x, y, x + w, y + h]


def _run_lengths(segmentation: dict[str, Any], width: int, height: int) -> bytes:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"its mask has the size {size!r}, its image {[height, width]}, height first")
    if isinstance(counts, list):
        if not all(type(one) is int and one >= 0 for one in counts) or sum(counts) != width * height:
            raise ValueError("its run lengths do not add up to the pixels of its image")
        packed: bytes = rle.frPyObjects({"size": size, "counts": counts}, height, width)["counts"]
        return packed
    if not isinstance(counts, str):
        raise ValueError("its mask has no counts")
    try:
        compressed = counts.encode("ascii")
        _check(compressed, width, height)
    except ValueError:
        raise ValueError("its compressed run lengths do not give the pixels of its image") from None
    return compressed


def _check(compressed: bytes, width: int, height: int) -> None:
    counts = counts_of(compressed)
    # A sum could wrap around; no run is longer than the image.
    if (counts < 0).any() or (counts > width * height).any() or counts.sum() != width * height:
        raise ValueError("the run lengths do not add up to the pixels of the image")


def _is_polygon(points: Any) -> bool:
    # Compared, not converted: an integer of JSON may be too large for a float.
    numbers = isinstance(points, list) and all(type(one) in (int, float) and abs(one) < 1e300 for one in points)
    return numbers and len(points) % 2 == 0


def _clipped(points: list[float], width: int, height: int) -> list[float]:
    """A polygon whose points are at most the image's own size outside it."""
    limits = [(-width, 2 * width), (-height, 2 * height)]
    return [
        float(min(max(one, low), high)) for one, (low, high) in zip(points, limits * (len(points) // 2), strict=True)
    ]


def encode(mask: np.ndarray) -> bytes:
    """A (height, width) bool mask as run lengths."""
    counts: bytes = rle.encode(np.asfortranarray(mask, np.uint8))["counts"]
    return counts


def decode(parts: list[bytes], width: int, height: int) -> np.ndarray:
    """The union of one or more masks, (height, width) bool.

    Raises:
        ValueError: The run lengths do not add up to the number of pixels.
    """
    for part in parts:
        _check(part, width, height)
    union = rle.decode(rle.merge([{"size": [height, width], "counts": part} for part in parts]))
    return np.asarray(union, dtype=bool)
