"""Conventions of the four numbers of a box: COCO's own, and those that other programs leave in its place."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from stages.errors import DataError, unknown

BoxFormat = Literal["auto", "xywh", "xyxy", "cxcywh", "relative-xywh", "relative-xyxy", "relative-cxcywh"]
"""``x`` and ``y`` are the left upper corner, or after ``c`` the centre, ``w`` and ``h`` width and height, the second
``x`` and ``y`` the right lower corner. In pixels, or ``relative`` to width and height of the image. ``auto`` is
COCO's own, ``xywh``, refused where the boxes show another one."""

_RELATIVE = "relative-"
_FAR = 0.05
"""Share of a side by which a box leaves its image to be evidence; annotators and detectors miss edges by less."""
_ROUNDING = 0.02
"""Share of a side by which a box may leave its image and still fit a convention."""
_FITTING = 0.95
"""Share of boxes that must fit a convention; a few may be wrong."""


def named_format(name: str, about: str) -> BoxFormat:
    """The convention of a name.

    Raises:
        ConfigurationError: There is none.
    """
    known = {str(one): one for one in get_args(BoxFormat)}
    if name not in known:
        raise unknown("convention of boxes", name, list(known), about)
    found: BoxFormat = known[name]
    return found


def edges(boxes: np.ndarray, sizes: np.ndarray, box_format: BoxFormat) -> np.ndarray:
    """Boxes as pixel edges.

    Args:
        boxes: (n, 4) in the given convention.
        sizes: (n, 2) width and height of each box's image.
        box_format: Convention; ``auto`` is ``xywh``.

    Returns:
        (n, 4) float64 xyxy, not clipped.

    >>> edges(np.array([[0.5, 0.5, 0.2, 1.0]]), np.array([[10, 20]]), "relative-cxcywh").tolist()
    [[4.0, 0.0, 6.0, 20.0]]
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if is_relative(box_format):
        boxes = boxes * np.tile(np.asarray(sizes, np.float64).reshape(-1, 2), 2)
    first, second = boxes[:, :2], boxes[:, 2:]
    kind = box_format.removeprefix(_RELATIVE)
    if kind == "cxcywh":
        first, second = first - second / 2, first + second / 2
    elif kind != "xyxy":
        second = first + second
    return np.concatenate([first, second], axis=1)


def is_relative(box_format: BoxFormat) -> bool:
    """Whether boxes of a convention need the size of their image."""
    return box_format.startswith(_RELATIVE)


def is_inverted(values: list[float], box_format: BoxFormat) -> bool:
    """Whether a box ends before it begins."""
    x0, y0 = values[:2] if box_format.endswith("xyxy") else (0, 0)
    return values[2] < x0 or values[3] < y0


def choose(
    asked: BoxFormat, likely: BoxFormat, boxes: np.ndarray, sizes: np.ndarray, name: str, about: str
) -> BoxFormat:
    """The convention in which boxes are read.

    Args:
        asked: What the user says.
        likely: For ``auto``, the convention to take where the boxes show it; ``auto`` for none.
        boxes: (n, 4) as they stand in the file.
        sizes: (n, 2) width and height of each box's image, 0 where unknown.
        name: Name of the file, for the message.
        about: As for :class:`stages.errors.UserError`.

    Returns:
        ``xywh`` for ``auto``, unless they show the likely one.

    Raises:
        DataError: ``auto``, and they show another convention.
    """
    guesses = other_formats(boxes, sizes) if asked == "auto" else []
    if likely in guesses or not guesses:
        return likely if guesses else "xywh" if asked == "auto" else asked
    far = f"{_far(boxes, sizes).sum():,} of {len(boxes):,} would end far outside their image"
    raise DataError(
        f"the boxes of {name} do not seem to be x, y, width, height in pixels: "
        f"{'all numbers are from 0 to 1' if is_relative(guesses[0]) else far}; "
        f"choose {' or '.join(guesses)}, or xywh to take them as they are",
        about=about,
    )


def other_formats(boxes: np.ndarray, sizes: np.ndarray) -> list[BoxFormat]:
    """The conventions that boxes may follow, where they do not seem to be ``xywh`` in pixels.

    Args:
        boxes: (n, 4) as they stand in the file.
        sizes: (n, 2) width and height of each box's image, 0 where unknown.

    Returns:
        The conventions, the most probable first; none where nothing speaks against ``xywh``, as for all boxes
        within their images.

    >>> other_formats(np.array([[10, 10, 60, 50], [50, 40, 90, 70], [60, 30, 99, 79]]), np.full((3, 2), [100, 80]))
    ['xyxy']
    """
    boxes, sizes = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(sizes, np.float64).reshape(-1, 2)
    usable = (boxes[:, 2:] > 0).all(axis=1)
    boxes, sizes = boxes[usable], sizes[usable]
    if len(boxes) and boxes.min() >= 0 and boxes.max() <= 1 + _ROUNDING and (boxes % 1).any():
        relative: tuple[BoxFormat, ...] = ("relative-xywh", "relative-xyxy", "relative-cxcywh")
        return [one for one in relative if _fits(boxes, np.ones_like(sizes), one)] or list(relative)
    far = _far(boxes, sizes)
    # Most of a few, a fifth of many. A box or two may simply be wrong.
    if far.sum() < max(2, min(len(boxes) / 2, 5 + len(boxes) / 5)):
        return []
    known = (sizes > 0).all(axis=1)
    pixels: tuple[BoxFormat, ...] = ("xyxy", "cxcywh")
    return [one for one in pixels if _fits(boxes[known], sizes[known], one)]


def _far(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a box, read as xywh, ends far outside its image."""
    ends = boxes[:, :2] + boxes[:, 2:]
    found: np.ndarray = ((ends > sizes * (1 + _FAR)) & (sizes > 0)).any(axis=1)
    return found


def _fits(boxes: np.ndarray, sizes: np.ndarray, box_format: BoxFormat) -> bool:
    """Whether nearly all boxes have an area and are within their images, read in a convention."""
    found = edges(boxes, np.ones_like(sizes) if is_relative(box_format) else sizes, box_format)
    low, high = found[:, :2], found[:, 2:]
    within = (low >= -_ROUNDING * sizes) & (high <= (1 + _ROUNDING) * sizes) & (low < high)
    return bool(within.all(axis=1).mean() >= _FITTING)
