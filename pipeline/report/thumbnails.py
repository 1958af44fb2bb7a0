"""Small pictures as data URIs: the photograph, and its heat map as a transparent layer above it."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.report.drawing import heat_levels, palette

SIDE = 224
"""Longest side of a thumbnail in pixels."""


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

    Cold pixels, and those that the network did not see, are transparent, so that the layer can lie over the
    photograph. The outline of the foreground is white.

    Args:
        heat: (size, size) float32 of :func:`stages.boxes.threshold.heat`, in the input frame.
        cutoff: The value that foreground pixels exceed.
        transform: (4,) of :func:`stages.ingest.geometry.fit_transform`.
        width: Displayed width in pixels.
        height: Displayed height in pixels.
    """
    colours = palette()
    image = Image.fromarray(heat_levels(heat, cutoff, transform, (width, height), shape(width, height)))
    image.putpalette(colours[:, :3].tobytes())
    buffer = BytesIO()
    image.save(buffer, "PNG", transparency=colours[:, 3].tobytes(), optimize=True)
    return _uri("png", buffer)


def _uri(kind: str, buffer: BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
