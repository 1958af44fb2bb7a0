"""Object masks as COCO's compressed run lengths: small enough for a manifest, decoded where they are scored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pycocotools import mask as rle


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
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, width, height)
    parts = [segmentation] if _is_polygon(segmentation) else segmentation
    numeric = isinstance(parts, list) and all(_is_polygon(one) for one in parts)
    # Two points are no area, and four numbers would be taken for a box.
    polygons = [one for one in parts if len(one) >= 6] if numeric else []
    if not polygons:
        raise ValueError("its segmentation is not a list of polygons of three or more finite points")
    merged: bytes = rle.merge(rle.frPyObjects(polygons, height, width))["counts"]
    return merged


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
        decode([compressed], width, height)
    except ValueError:
        raise ValueError("its compressed run lengths do not give the pixels of its image") from None
    return compressed


def _is_polygon(points: Any) -> bool:
    numbers = isinstance(points, list) and all(type(one) in (int, float) for one in points)
    return numbers and len(points) % 2 == 0 and all(map(math.isfinite, points))


def encode(mask: np.ndarray) -> bytes:
    """A (height, width) bool mask as run lengths."""
    counts: bytes = rle.encode(np.asfortranarray(mask, np.uint8))["counts"]
    return counts


def decode(parts: list[bytes], width: int, height: int) -> np.ndarray:
    """The union of one or more masks, (height, width) bool.

    Raises:
        ValueError: The run lengths do not add up to the number of pixels.
    """
    union = rle.decode(rle.merge([{"size": [height, width], "counts": part} for part in parts]))
    return np.asarray(union, dtype=bool)
