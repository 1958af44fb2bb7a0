"""Samples as shards hold them: an image with its labels and boxes, in numbers or words, and how they become records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.classes import Names
from stages.formats.coco.box_format import BoxFormat, edges, is_relative
from stages.formats.coco.entries import numbers
from stages.formats.folder import class_info
from stages.formats.labels import main_class
from stages.formats.source import Notes, Source
from stages.formats.tables import in_order
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.header import Header
from stages.ingest.records import ImageRecord, no_boxes
from stages.ingest.sizes import headers_of

Label = int | str
"""A class as a dataset gives it: its number from 0, or its name."""

MOST_CLASSES = 100_000
"""Most classes of a dataset that does not name them: a mistyped number would make as many."""


@dataclass(slots=True)
class Sample:
    """An image of a dataset.

    Attributes:
        number: Its id.
        uri: Where its bytes are.
        names: Names that its file may have, the best first; the last one is that of no other sample.
        labels: Classes of the image, the first of which is its label; none where the dataset gives none.
        boxes: Numbers of each box, in a convention of :mod:`stages.formats.coco.box_format`.
        owners: Class of each box; None where it is that of the image.
        size: Displayed width and height in pixels; 0 where they are not stated.
        stated: The id that the dataset gives it; -1 where it gives none.
    """

    number: int
    uri: str
    names: tuple[str, ...]
    labels: list[Label] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    owners: list[Label | None] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    stated: int = -1


def label_of(value: Any) -> Label | None:
    """A label as a table or JSON may hold it: a whole number, or a text; None for anything else.

    >>> label_of(3), label_of(3.0), label_of(" cat "), label_of(""), label_of(True), label_of(None)
    (3, 3, 'cat', None, None, None)
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int else None


def objects_of(boxes: Any, owners: Any, notes: Notes, example: str) -> tuple[list[list[float]], list[Label | None]]:
    """The boxes of an image and their classes; what is no box is counted.

    Args:
        boxes: A list of boxes, or a single one; None for none.
        owners: Their classes in the same order, one for all of them, or None.
        notes: Findings.
        example: Name of the image.
    """
    boxes = boxes if isinstance(boxes, list) else [] if boxes is None else [boxes]
    if len(boxes) == 4 and not any(isinstance(one, list) for one in boxes):
        boxes = [boxes]
    owners = owners if isinstance(owners, list) else [owners] * len(boxes)
    if len(owners) != len(boxes):
        what = "images have another number of boxes than of their classes: these are left out"
        notes.count(what, example=example)
        owners = [None] * len(boxes)
    found = [(values, label_of(owner)) for one, owner in zip(boxes, owners, strict=True) if (values := numbers(one))]
    what = "boxes left out: they are not four finite numbers"
    notes.count(what, len(boxes) - len(found), example=example)
    return [values for values, _ in found], [owner for _, owner in found]


def to_source(samples: Sequence[Sample], names: Sequence[str], box_format: BoxFormat, notes: Notes) -> Source:
    """The dataset of samples.

    Classes are those that are named; without names, numbers are indices and anything else is a name. The label of an
    image without any is the class of its boxes that has most area. Sizes that relative boxes need and nothing states
    are read from the images.

    Args:
        samples: All samples.
        names: Names of the classes by their number; empty where nothing says them.
        box_format: Convention of the boxes.
        notes: Findings.
    """
    given = {label for one in samples for label in (*one.labels, *one.owners) if label is not None}
    known = list(dict.fromkeys(names)) or _names(given)
    by_number = bool(names) or all(isinstance(label, int) for label in given)
    found = Names(known)

    def index(label: Label) -> int:
        if by_number and isinstance(label, int):
            return label if 0 <= label < len(known) else -1
        return found.find(str(label))[0] if len(found.find(str(label))) == 1 else -1

    indices = {label: index(label) for label in given}
    return Source([class_info(name) for name in known], _records(samples, indices, box_format, notes), notes)


def _names(given: set[Label]) -> list[str]:
    numbers = [label for label in given if isinstance(label, int)]
    if len(numbers) < len(given):
        return in_order(map(str, given))
    return [str(number) for number in range(1 + max((one for one in numbers if one < MOST_CLASSES), default=-1))]


def _records(
    samples: Sequence[Sample], indices: Mapping[Label, int], box_format: BoxFormat, notes: Notes
) -> Iterator[ImageRecord]:
    names = _unique(samples)
    sizes = _sizes(samples, box_format, notes)
    labelled = any(one.labels or one.boxes for one in samples)
    for sample, name, (width, height) in zip(samples, names, sizes, strict=True):
        classes = [indices[label] for label in sample.labels if label != -1]
        what = "labels are none of the classes: left out"
        notes.count(what, classes.count(-1), example=f"{sample.labels[:3]} of {name}")
        classes = [one for one in classes if one >= 0]
        label = classes[0] if classes else -1
        boxes, owners = no_boxes(), np.zeros(0, np.int32)
        if sample.boxes:
            boxes, owners = _located(sample, label, (width, height), indices, box_format, notes)
        label = label if label >= 0 else main_class(boxes[owners >= 0], owners[owners >= 0])
        notes.count("images have no label", labelled and label < 0)
        yield ImageRecord(
            sample.number,
            sample.uri,
            name,
            label,
            *((width, height) if sample.boxes else (0, 0)),
            boxes,
            owners,
            labels=tuple(sorted({*classes} - {label})),
        )


def _located(
    sample: Sample,
    label: int,
    size: tuple[int, int],
    indices: Mapping[Label, int],
    box_format: BoxFormat,
    notes: Notes,
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (n, 4) of an image as pixel edges, clipped where its size is known, and the class (n,) of each."""
    owners = np.array([label if one is None else indices[one] for one in sample.owners], np.int32)
    foreign = sum(one is not None and indices[one] < 0 for one in sample.owners)
    notes.count("boxes have another class than any that there is: it is left out", foreign)
    pixels = edges(np.array(sample.boxes), np.tile(size, (len(sample.boxes), 1)), box_format)
    boxes, kept = clip_boxes(pixels, *size)
    notes.count("boxes dropped: empty, inverted or outside their image", len(kept) - len(boxes))
    notes.count("boxes clipped: they end outside their image", count_clipped(pixels[kept], boxes))
    return boxes, owners[kept]


def _unique(samples: Sequence[Sample]) -> list[str]:
    """The names of all samples: of those that share one, the next names."""
    ranks = [0] * len(samples)
    while True:
        names = [one.names[rank] for one, rank in zip(samples, ranks, strict=True)]
        times = Counter(names)
        further = [
            rank + (times[name] > 1 and rank + 1 < len(one.names))
            for one, rank, name in zip(samples, ranks, names, strict=True)
        ]
        if further == ranks:
            return names
        ranks = further


def _sizes(samples: Sequence[Sample], box_format: BoxFormat, notes: Notes) -> list[tuple[int, int]]:
    """Sizes as stated, and those of relative boxes that are not."""
    sizes = [one.size for one in samples]
    asked = [at for at, one in enumerate(samples) if one.boxes and not all(one.size) and is_relative(box_format)]
    for at, header in zip(asked, headers_of([samples[at].uri for at in asked]), strict=True):
        if isinstance(header, Header):
            sizes[at] = header.displayed
        else:
            what = "images cannot be read, so that their relative boxes have no size: they are dropped"
            notes.count(what, example=samples[at].names[0])
    return sizes
