"""Heat maps in colour: as levels of one palette, and drawn with boxes over the photograph."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from stages.boxes.protocols import Protocol
from stages.boxes.threshold import heat

LEVELS = 32
OUTLINE = LEVELS
"""Palette entry after the heat levels: the outline of the foreground."""
TRUTH, ESTIMATE = (0, 179, 107), (255, 59, 48)
"""RGB of the boxes, as in the page's style sheet."""

_OPACITY = 0.72  # of the hottest level: the object must stay recognisable below it


def palette() -> np.ndarray:
    """Colours of the heat levels, the coldest transparent, and of the white outline, (LEVELS + 1, 4) uint8 RGBA."""
    ramp = np.linspace(0, 255, LEVELS).astype(np.uint8)[:, None]
    colours = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    alpha = np.rint(255 * _OPACITY * np.linspace(0, 1, LEVELS) ** 0.7).astype(np.uint8)
    return np.vstack([np.column_stack([colours, alpha]), np.array([255, 255, 255, 235], np.uint8)])


def heat_levels(
    values: np.ndarray, cutoff: float, transform: np.ndarray, image: tuple[int, int], picture: tuple[int, int]
) -> np.ndarray:
    """A heat map in the frame of the displayed image, as entries of :func:`palette`.

    Pixels that the network did not see are cold.

    Args:
        values: (size, size) float32 of :func:`stages.boxes.threshold.heat`, in the input frame.
        cutoff: The value that foreground pixels exceed.
        transform: (4,) of :func:`stages.ingest.geometry.fit_transform`.
        image: Width and height of the displayed image in pixels.
        picture: Width and height of the result in pixels.

    Returns:
        (height, width) uint8.
    """
    (width, height), (columns, rows) = image, picture
    sx, sy, tx, ty = transform
    x = (np.arange(columns) + 0.5) * (width / columns) * sx + tx
    y = (np.arange(rows) + 0.5) * (height / rows) * sy + ty
    grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    # The centre of the first pixel is at 0 in OpenCV and at 0.5 in pixel edges.
    seen = (grid_x >= 0) & (grid_x < len(values)) & (grid_y >= 0) & (grid_y < len(values))
    values = cv2.remap(values, grid_x - 0.5, grid_y - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values[~seen] = 0
    levels = np.rint(np.clip(values, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    mask = ((values > cutoff) & seen).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    levels[(mask == 1) & (inner == 0)] = OUTLINE
    return levels


def explained(
    photo: Image.Image,
    map: np.ndarray,
    protocol: Protocol,
    size: int,
    transform: np.ndarray,
    estimate: np.ndarray,
    truth: Sequence[np.ndarray] = (),
) -> Image.Image:
    """Draw a photograph with a map as heat, the estimated box in red and the ground truth in green.

    Args:
        photo: The displayed image, RGB.
        map: (h, w) float32, raw.
        protocol: Rules by which it becomes heat and is thresholded.
        size: Side of the network's input frame in pixels.
        transform: (4,) from the displayed image to that frame.
        estimate: (4,) xyxy in displayed pixels; without area it is not drawn.
        truth: Ground-truth boxes in the same coordinates.

    Returns:
        An RGB image of the photograph's size.
    """
    cutoff = protocol.cutoffs(np.array([protocol.threshold]))[0]
    levels = heat_levels(heat(map, protocol, size), cutoff, transform, photo.size, photo.size)
    picture = Image.alpha_composite(photo.convert("RGBA"), Image.fromarray(palette()[levels])).convert("RGB")
    pen = ImageDraw.Draw(picture)
    width = max(2, round(max(photo.size) / 150))
    for colour, box in [*((TRUTH, one) for one in truth), (ESTIMATE, estimate)]:
        x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
        if x1 > x0 and y1 > y0:
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=width)
    return picture
