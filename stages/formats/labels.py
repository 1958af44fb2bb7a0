"""Labels of an image: class, box, score and source. Readers return labels, writers take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from stages.ingest.records import ImageRecord

Status = Literal["given", "pseudo", "reviewed"]
"""Origin of a label: ``given`` by the dataset, ``pseudo`` made from a map, ``reviewed`` by a person, which no
run overwrites."""

Box = tuple[float, float, float, float]
"""Box x0, y0, x1, y1: half-open pixel edges of the displayed image."""


@dataclass(frozen=True, slots=True)
class Label:
    """One object of an image, or a class that the image shows somewhere.

    Attributes:
        image_id: Id of its image, as in :class:`~stages.ingest.records.ImageRecord`.
        class_index: Index into the classes with which it is read or written; -1 where it is none of them.
        box: Location of the object; None where unknown.
        score: Probability of the class, in [0, 1]; None where the label is a fact or the probability is unknown.
        quality: Reliability of the box, in [0, 1], higher is better; None where unknown.
        source: Source of the label, such as a format, an explainer or a reviewer.
        status: Origin of the label.
        mask: The object's pixels as run lengths of :mod:`stages.ingest.run_lengths`; empty where there is no mask.
    """

    image_id: int
    class_index: int
    box: Box | None
    score: float | None
    quality: float | None
    source: str
    status: Status
    mask: bytes = b""


class Labelled(NamedTuple):
    """An image and all its labels."""

    image: ImageRecord
    labels: list[Label]


Images = Callable[[], Iterable[Labelled]]
"""Function that iterates over the images; may be called repeatedly, since some formats store images and boxes apart."""


class Split(NamedTuple):
    """A part of a dataset, such as ``train``.

    Attributes:
        name: Its name; empty where the dataset is not divided.
        images: Its images, whose ``file_name`` is relative to the format's folder of images.
    """

    name: str
    images: Images


Files = Iterator[tuple[str, Iterable[bytes]]]
"""Output of a writer: relative POSIX names and pieces of the contents. The caller decides where they are stored."""


def main_class(boxes: np.ndarray, owners: np.ndarray) -> int:
    """The class of an image by its boxes: that with the largest total area, the lower one of two with the same.

    Args:
        boxes: (n, 4) xyxy.
        owners: (n,) class of each box.

    >>> main_class(np.array([[0, 0, 2, 2], [0, 0, 3, 1], [1, 1, 3, 2]]), np.array([4, 2, 2]))
    2
    >>> main_class(np.zeros((0, 4)), np.zeros(0, np.int32))
    -1
    """
    if not len(boxes):
        return -1
    area = np.prod(boxes[:, 2:].astype(np.float64) - boxes[:, :2], axis=1)
    return int(np.bincount(owners, weights=area).argmax())


def labelled(records: Iterable[ImageRecord], source: str) -> Iterator[Labelled]:
    """Images with the labels that their dataset gave them.

    Args:
        records: Records of one dataset.
        source: Format of the dataset.
    """
    return (Labelled(record, given(record, source)) for record in records)


def given(record: ImageRecord, source: str) -> list[Label]:
    """The labels that a dataset gave an image: one per box, and one for each class that has none.

    >>> [label.class_index for label in given(ImageRecord(1, "/data/a.png", "a.png", label=3), "imagefolder")]
    [3]
    """
    masks = record.masks or (b"",) * len(record.boxes)
    rows = zip(record.boxes.tolist(), record.box_labels.tolist(), masks, strict=True)
    labels = [
        Label(record.image_id, index, (x0, y0, x1, y1), None, None, source, "given", mask)
        for (x0, y0, x1, y1), index, mask in rows
    ]
    boxed = {label.class_index for label in labels}
    return labels + [
        Label(record.image_id, index, None, None, None, source, "given") for index in record.shown if index not in boxed
    ]
