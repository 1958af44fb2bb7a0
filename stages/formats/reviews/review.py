"""What a person said of an image, and the images that it may be about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stages.errors import DataError
from stages.formats.labels import Box
from stages.formats.source import Notes
from stages.ingest.paths import basename
from stages.ingest.records import ImageRecord


@dataclass(frozen=True)
class Review:
    """What a person said of an image.

    Attributes:
        image_id: The image.
        boxes: Name of the class and half-open pixel edges of each object; none where the image has no object.
        by: Who said it, where the tool knows.
        when: When, as the tool writes it, where it knows.
    """

    image_id: int
    boxes: list[tuple[str, Box]]
    by: str = ""
    when: str = ""


class Subjects:
    """The images of a run, found by the names that exports give them.

    Args:
        records: The images.
        names: Names of the images in the dataset and in exports; one that several images have is none.
    """

    def __init__(self, records: Iterable[ImageRecord], names: Iterable[tuple[str, int]]) -> None:
        self.sizes = {one.image_id: (one.width, one.height) for one in records}
        self._names: dict[str, set[int]] = {}
        self._lasts: dict[str, set[int]] = {}
        for name, image in names:
            self._names.setdefault(name, set()).add(image)
            self._lasts.setdefault(basename(name), set()).add(image)

    def named(self, name: str, whole: bool = True) -> int | None:
        """The image of a name, of the longest end of it that is one, or the only one whose file has its last part.

        Args:
            name: The name, which may begin with folders of another machine.
            whole: Whether the tool keeps folders; otherwise a name without one may be that of any image so called.

        Returns:
            The image's id; None where there is none, or several.
        """
        parts = name.replace("\\", "/").split("/")
        for start in range(len(parts) - 1 or 1):
            images = self._names.get("/".join(parts[start:]), set())
            if images and (whole or len(parts) > 1 or images == self._lasts[parts[-1]]):
                return next(iter(images)) if len(images) == 1 else None
        images = self._lasts.get(parts[-1], set())
        return next(iter(images)) if len(images) == 1 else None


@dataclass
class Findings:
    """What a file of corrections says, and why it cannot be taken.

    Attributes:
        reviews: The reviews.
        notes: Findings, which count what is left out.
        refused: Number of images, boxes or names, by the reason for which the file is refused.
    """

    reviews: list[Review] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    refused: Counter[str] = field(default_factory=Counter)

    def check(self, name: str, subjects: Subjects) -> None:
        """Refuse a file that is not about these images, and count the boxes that are of no use.

        Raises:
            DataError: It names images that the run does not have, or that have another size now, or has boxes that
                are none.
            TypeError: The name of a class is no text, or an edge is no number.
            OverflowError: A number is too large for a float.
        """
        twice = len(self.reviews) - len({one.image_id for one in self.reviews})
        self.refused["images are named twice"] += twice
        for one in self.reviews:
            width, height = subjects.sizes[one.image_id]
            for label, box in one.boxes:
                if not isinstance(label, str):
                    raise TypeError(f"{label!r} is no name of a class")
                if not all(isinstance(edge, int | float) for edge in box):
                    raise TypeError(f"{box!r} is no box")
                x0, y0, x1, y1 = map(float, box)
                if not all(map(math.isfinite, (x0, y0, x1, y1))):
                    self.refused["boxes have numbers that are not finite"] += 1
                elif x1 < x0 or y1 < y0:
                    self.refused["boxes have a negative size"] += 1
                elif width and height and min(min(x1, width) - max(x0, 0), min(y1, height) - max(y0, 0)) < 1:
                    self.notes.count("boxes are outside their image or narrower than a pixel: exports leave them out")
        self.refuse(name)

    def refuse(self, name: str) -> None:
        """Refuse the file if there is a reason.

        Raises:
            DataError: There is.
        """
        if refused := +self.refused:
            listed = ", ".join(f"{count:,} {what}" for what, count in refused.items())
            raise DataError(f"{name} is not of this run: {listed}; nothing was imported")


def enclosing(corners: Sequence[tuple[float, float]]) -> Box:
    """The box around points."""
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def turned(box: Box, degrees: float, about: tuple[float, float]) -> Box:
    """The box around a box that is turned clockwise, in pixels.

    >>> [round(edge) for edge in turned((220, 50, 320, 90), 90, (220, 50))]
    [180, 50, 220, 150]
    """
    x0, y0, x1, y1 = box
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved = [(x - about[0], y - about[1]) for x in (x0, x1) for y in (y0, y1)]
    return enclosing([(about[0] + x * cosine - y * sine, about[1] + x * sine + y * cosine) for x, y in moved])
