"""A dataset while it is being read: images one by one, and findings about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.ingest.records import Dataset, ImageRecord


class Notes:
    """Findings about a dataset, one line each, in the order in which they first occurred.

    >>> notes = Notes()
    >>> notes.count("boxes dropped", 0)
    >>> notes.say("no annotations in /data")
    >>> notes.count("masks left out", example="entry 7 has no size")
    >>> notes.count("boxes dropped", 1200)
    >>> print(*notes.lines(), sep="\\n")
    1,200 boxes dropped
    no annotations in /data
    1 masks left out, such as: entry 7 has no size
    """

    def __init__(self) -> None:
        self._counts: dict[str, int | None] = {}
        self._examples: dict[str, str] = {}

    def say(self, line: str) -> None:
        """Add a line as it is; an empty line is ignored."""
        if line:
            self._counts[line] = None

    def count(self, what: str, times: int = 1, example: str = "") -> None:
        """Count a finding that may occur often, in one line.

        Args:
            what: The line without its number.
            times: Number of occurrences; 0 only fixes the place among the lines.
            example: Description of one case, ignored where there is none; the first is shown.
        """
        self._counts[what] = (self._counts.get(what) or 0) + times
        if example and times:
            self._examples.setdefault(what, example)

    def extend(self, other: Notes) -> None:
        """Add other findings, none of which are of the same kind."""
        self._counts |= other._counts
        self._examples |= other._examples

    def lines(self) -> list[str]:
        """All lines that were added, and all findings that were counted at least once."""
        return [
            what if count is None else f"{count:,} {what}{self._example(what)}"
            for what, count in self._counts.items()
            if count != 0
        ]

    def _example(self, what: str) -> str:
        return f", such as: {self._examples[what]}" if what in self._examples else ""


@dataclass(frozen=True)
class Source:
    """Result of a format's ``read``.

    A problem of one image is a note, or is found when the image is decoded; only a problem of the whole dataset
    is an error.

    Attributes:
        classes: Classes in label order. Empty where the images have no labels.
        records: The images, one by one, in any order; can be iterated once.
        notes: Findings; complete when the last record has been taken.
    """

    classes: Sequence[ClassInfo]
    records: Iterable[ImageRecord]
    notes: Notes = field(default_factory=Notes)

    def collect(self) -> Dataset:
        """All images in order of ``image_id``.

        Raises:
            DataError: Two records have the same ``image_id``, or whatever the reader raises.
        """
        ordered = sorted(self.records, key=lambda record: record.image_id)
        for one, other in pairwise(ordered):
            if one.image_id == other.image_id:
                raise DataError(
                    f"image id {one.image_id} belongs to two files, {one.file_name} and {other.file_name}; "
                    "remove or rename one"
                )
        return Dataset(list(self.classes), ordered, self.notes.lines())
