"""Small pictures as data URIs: the photograph, and its heat map as a transparent layer above it."""

from __future__ import annotations

import base64
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

SIDE = 224
"""Longest side of a thumbnail in pixels."""

_LEVELS = 32
_OUTLINE = _LEVELS  # the palette's entry after the heat levels
_OPACITY = 0.72  # of the hottest level: the object must stay recognisable below it


def shape(width: int, height: int) -> tuple[int, int]:
    """Width and height of the thumbnail of a displayed image.

    >>> shape(500, 375), shape(20000, 1)
    ((224, 168), (224, 1))
    """
    scale = SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def photo(image: Image.Image) -> str:
    """A displayed RGB image as a JPEG data URI."""
    buffer = BytesIO()
    image.resize(shape(*image.size), Image.Resampling.LANCZOS, reducing_gap=3).save(buffer, "JPEG", quality=80)
    return _uri("jpeg", buffer)


def overlay(heat: np.ndarray, cutoff: float, transform: np.ndarray, width: int, height: int) -> str:
    """A heat map in the frame of the displayed image, as a PNG data URI.

    Cold is transparent, so that the layer can lie over the photograph. The outline of what exceeds the
    cutoff is white. What the network did not see stays transparent.

    Args:
        heat: (size, size) float32 of :func:`stages.boxes.threshold.heat`, in the input frame.
        cutoff: What a foreground pixel exceeds.
        transform: (4,) of :func:`stages.ingest.geometry.fit_transform`.
        width: Displayed width in pixels.
        height: Displayed height in pixels.
    """
    columns, rows = shape(width, height)
    sx, sy, tx, ty = transform
    x = (np.arange(columns) + 0.5) * (width / columns) * sx + tx
    y = (np.arange(rows) + 0.5) * (height / rows) * sy + ty
    grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    # The centre of the first pixel is 0 to OpenCV and 0.5 in pixel edges.
    seen = (grid_x >= 0) & (grid_x < len(heat)) & (grid_y >= 0) & (grid_y < len(heat))
    values = cv2.remap(heat, grid_x - 0.5, grid_y - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values[~seen] = 0
    levels = np.rint(np.clip(values, 0, 1) * (_LEVELS - 1)).astype(np.uint8)
    mask = ((values > cutoff) & seen).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    levels[(mask == 1) & (inner == 0)] = _OUTLINE
    return _palette_png(levels)


def _palette_png(levels: np.ndarray) -> str:
    ramp = np.linspace(0, 255, _LEVELS).astype(np.uint8)[:, None]
    colours = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    alpha = np.rint(255 * _OPACITY * np.linspace(0, 1, _LEVELS) ** 0.7).astype(np.uint8)
    image = Image.fromarray(levels)
    image.putpalette(bytes([*colours.tobytes(), 255, 255, 255]))
    buffer = BytesIO()
    image.save(buffer, "PNG", transparency=bytes([*alpha.tobytes(), 235]), optimize=True)
    return _uri("png", buffer)


def _uri(kind: str, buffer: BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
