"""The result of :func:`pipeline.explain`: maps and boxes of a few images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.report.drawing import explained
from stages.boxes.protocols import Protocol
from stages.errors import ConfigurationError, DataError
from stages.ingest.decode import DecodeError, displayed, read_image
from stages.ingest.levels import Levels

Source = str | Path | Image.Image | np.ndarray
"""A path or uri, a Pillow image, or (H, W, 3) uint8 RGB pixels."""


@dataclass(frozen=True, eq=False, repr=False)
class Explained:
    """Maps and boxes of N images for one class each.

    Attributes:
        method: The explainer.
        maps: (N, h, w) float32: before ReLU, normalisation and resizing.
        boxes: (N, 4) float32 xyxy, half-open pixel edges of the displayed image, or of the tensor that was given;
            all 0 where a map is empty.
        classes: (N,) int32, the first predictions.
        probs: (N, C) float32 probabilities of all classes.
        targets: (N,) int32, the classes that were explained.
        names: Names of the C classes; their numbers where they have no names.
    """

    method: str
    maps: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    probs: np.ndarray
    targets: np.ndarray
    names: tuple[str, ...]
    _sources: list[Source] = field(default_factory=list)
    _transforms: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    _size: int = 0
    _levels: Levels = field(default_factory=dict)
    _protocol: Protocol = field(default_factory=lambda: Protocol(""))

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        count, height, width = self.maps.shape
        return f"Explained({count} {'image' if count == 1 else 'images'} by {self.method}, maps {height} x {width})"

    @property
    def class_names(self) -> list[str]:
        """The N first predictions by name."""
        return [self.names[one] for one in self.classes]

    def draw(self, index: int = 0) -> Image.Image:
        """Draw the photograph with its map as heat, and the box in red.

        Args:
            index: Position of the image, from 0.

        Returns:
            An RGB image of the displayed size. The regions that the box is chosen from have a white outline.

        Raises:
            DataError: The image is a file that is no longer there.
        """
        photo = photograph(self._sources[index], index, self._levels)
        return explained(
            photo, self.maps[index], self._protocol, self._size, self._transforms[index], self.boxes[index]
        )


def photograph(source: Source, index: int, levels: Levels) -> Image.Image:
    """Any kind of source as the displayed image, RGB.

    Args:
        source: The image.
        index: Position by which errors name a source without a path.
        levels: Black and white of images with more than 8 bits.

    Raises:
        DataError: It cannot be decoded.
        ConfigurationError: It is not an image.
    """
    try:
        if isinstance(source, str | Path):
            return read_image(str(source), levels=levels)
        if isinstance(source, Image.Image):
            return displayed(source, levels)
    except DecodeError as error:
        raise DataError(f"{source}: {error.message}") from None
    except OSError as error:  # Pillow opens images lazily and reads them only now.
        raise DataError(f"image {index}: {' '.join(str(error).split())}") from None
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3:
        return Image.fromarray(source)
    what = f"{source.dtype} {source.shape}" if isinstance(source, np.ndarray) else type(source).__name__
    raise ConfigurationError(
        f"image {index} is {what}; give paths, Pillow images, (H, W, 3) uint8 arrays, or one (N, 3, S, S) float tensor"
    )
