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
        names: Names of each image in exports, by ``image_id``, the likeliest first.
    """

    def __init__(self, records: Iterable[ImageRecord], names: Iterable[dict[str, int]]) -> None:
        self.sizes = {one.image_id: (one.width, one.height) for one in records}
        self._names = list(names)

    def named(self, name: str) -> int | None:
        """The image of a name, or of the name of its file alone; None where there is none."""
        words = (name, basename(name))
        return next((names[word] for word in words for names in self._names if word in names), None)


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

    def check(self, name: str) -> None:
        """Refuse a file that is not about these images.

        Raises:
            DataError: It names images that the run does not have, or that have another size now.
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
