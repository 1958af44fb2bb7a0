"""Affine maps from the displayed image to the square network input, and boxes through them.

A transform is (sx, sy, tx, ty) with ``x_in = sx * x + tx`` and ``y_in = sy * y + ty``. Coordinates are
pixel edges: 0 is the left edge of the first pixel, ``width`` the right edge of the last one.
"""

from __future__ import annotations

import numpy as np

from stages.errors import unknown

FITS = ("squash", "center_crop", "letterbox")
# What turns a stored image upright, by EXIF orientation: x flipped, y flipped, and then both axes exchanged.
_FLIPS = {
    1: (False, False, False),
    2: (True, False, False),
    3: (True, True, False),
    4: (False, True, False),
    5: (False, False, True),
    6: (False, True, True),
    7: (True, True, True),
    8: (True, False, True),
}


def resized_shape(width: int, height: int, size: int, fit: str, crop_ratio: float) -> tuple[int, int]:
    """Width and height in whole pixels of the resized image, before it is cropped or padded.

    ``squash`` gives size x size. ``center_crop`` is torchvision's ``Resize(round(size / crop_ratio))``:
    the short side gets that length and the long one is rounded down. ``letterbox`` makes the long side
    ``size``.

    Raises:
        ConfigurationError: Unknown fit.
    """
    if fit == "squash":
        return size, size
    if fit == "center_crop":
        short = round(size / crop_ratio)
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short
    if fit == "letterbox":
        longest = max(width, height)
        return max(1, round(size * width / longest)), max(1, round(size * height / longest))
    raise unknown("fit", fit, list(FITS))


def fit_transform(width: int, height: int, size: int, fit: str, crop_ratio: float) -> np.ndarray:
    """The map from displayed pixel edges to the edges of the size x size network input.

    Args:
        width: Displayed width in pixels, at least 1.
        height: Displayed height in pixels, at least 1.
        size: Side of the network input in pixels.
        fit: ``squash`` (both sides to ``size``), ``center_crop`` (torchvision's Resize + CenterCrop) or
            ``letterbox`` (whole image, aspect kept, centred).
        crop_ratio: Share of the resized short side that ``center_crop`` keeps, in (0, 1].

    Returns:
        (4,) float64: sx, sy, tx, ty. The scales come from the sizes in whole pixels that the resize
        actually produces, so they may differ slightly between the axes.

    Raises:
        ConfigurationError: Unknown fit.
    """
    resized = resized_shape(width, height, size, fit, crop_ratio)
    # round() is the half-to-even rounding of torchvision's CenterCrop.
    offset = [(size - side) // 2 if fit == "letterbox" else -round((side - size) / 2) for side in resized]
    return np.array([resized[0] / width, resized[1] / height, *offset], dtype=np.float64)


def fit_transforms(widths: np.ndarray, heights: np.ndarray, size: int, fit: str, crop_ratio: float) -> np.ndarray:
    """Transforms (N, 4) float64 of images of (N,) widths and heights, as :func:`fit_transform` gives them."""
    sides = zip(widths.tolist(), heights.tolist(), strict=True)
    return np.array([fit_transform(*side, size, fit, crop_ratio) for side in sides]).reshape(-1, 4)


def to_input(boxes: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Displayed boxes in the frame of the network input, unclipped.

    Args:
        boxes: (N, 4) xyxy.
        transform: (N, 4), one per row, or (4,) for all.

    Returns:
        (N, 4) float64 xyxy.
    """
    scale, shift = _both_corners(transform)
    moved: np.ndarray = np.asarray(boxes, dtype=np.float64) * scale + shift
    return moved


def to_displayed(
    boxes: np.ndarray, transform: np.ndarray, width: np.ndarray | int, height: np.ndarray | int
) -> np.ndarray:
    """Boxes of the network input in the displayed image, clipped to it: the inverse of :func:`to_input`.

    Args:
        boxes: (N, 4) xyxy in input pixels.
        transform: (N, 4), one per row, or (4,) for all.
        width: (N,) displayed widths in pixels, or one for all.
        height: (N,) displayed heights in pixels, or one for all.

    Returns:
        (N, 4) float32 xyxy.
    """
    scale, shift = _both_corners(transform)
    edges = np.stack([width, height, width, height], axis=-1)
    moved: np.ndarray = (np.asarray(boxes, dtype=np.float64) - shift) / scale
    return np.asarray(np.clip(moved, 0, edges), dtype=np.float32)


def upright_boxes(boxes: np.ndarray, width: int, height: int, orientation: int) -> np.ndarray:
    """Boxes of the stored image in the displayed one, exactly: EXIF orientations flip axes and exchange them.

    Args:
        boxes: (N, 4) xyxy half-open edges in the stored image.
        width: Width of the stored image in pixels.
        height: Height of the stored image in pixels.
        orientation: EXIF orientation, 1 to 8.

    Returns:
        (N, 4) xyxy half-open edges, of the type of ``boxes``.
    """
    flip_x, flip_y, exchange = _FLIPS[orientation]
    x0, y0, x1, y1 = np.asarray(boxes).reshape(-1, 4).T
    if flip_x:
        x0, x1 = width - x1, width - x0
    if flip_y:
        y0, y1 = height - y1, height - y0
    return np.stack([y0, x0, y1, x1] if exchange else [x0, y0, x1, y1], axis=1)


def upright_mask(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A (height, width) mask of the stored image in the displayed one."""
    flip_x, flip_y, exchange = _FLIPS[orientation]
    moved = mask[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return moved.T if exchange else moved


def _both_corners(transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and shifts for x0, y0, x1, y1."""
    return transform[..., [0, 1, 0, 1]], transform[..., [2, 3, 2, 3]]
