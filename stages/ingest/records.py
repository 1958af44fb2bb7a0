"""The result of every dataset format: classes, image records and findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stages.classes import ClassInfo

Frame = Literal["displayed", "stored"]
"""Image that boxes belong to: as it is displayed, or its pixels as they are stored, before the EXIF orientation."""


def no_boxes() -> np.ndarray:
    """The boxes of an image that has none: (0, 4) float32."""
    return np.zeros((0, 4), dtype=np.float32)


@dataclass(frozen=True)
class ImageRecord:
    """One image of a dataset.

    Attributes:
        image_id: Unique in the dataset, stable between runs.
        uri: Where :func:`stages.ingest.uris.read_bytes` finds the encoded image.
        file_name: POSIX path relative to the image root, as COCO files name it.
        label: Index into the dataset's classes; -1 where the image has none. Of several, the first.
        width: Displayed width in pixels (EXIF orientation applied); 0 where it is not known yet.
        height: Displayed height in pixels; 0 where it is not known yet.
        boxes: (n, 4) float32 ground truth, xyxy half-open pixel edges of the displayed image.
        box_labels: (n,) int32, the class of each box.
        masks: Mask of each box's object as run lengths of :mod:`stages.ingest.run_lengths`, empty where it has
            none; no entries where the image has no masks.
        ignore: Run lengths of the region that is not scored for the label's class.
        deep: Whether its samples have more than 8 bits; None where its header has not been read.
        labels: Classes that the image shows, boxes or not; those of the label and of the boxes may be left out.
    """

    image_id: int
    uri: str
    file_name: str
    label: int = -1
    width: int = 0
    height: int = 0
    boxes: np.ndarray = field(default_factory=no_boxes)
    box_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    masks: tuple[bytes, ...] = ()
    ignore: bytes | None = None
    deep: bool | None = None
    labels: tuple[int, ...] = ()

    @property
    def shown(self) -> tuple[int, ...]:
        """All classes that the image is known to show, each once: its label, then the others in ascending order."""
        others = {*self.labels, *self.box_labels.tolist()} - {self.label, -1}
        return (*([self.label] if self.label >= 0 else []), *sorted(others))


@dataclass(frozen=True)
class Dataset:
    """A dataset read from its format.

    Attributes:
        classes: Classes in label order. Empty where the images have no labels.
        records: Image records, sorted by ``image_id``.
        notes: Findings, one line each, with counts: missing, extra and contradictory annotations.
        frame: Frame of the boxes where the stated size does not tell: sizes, boxes and masks are as annotated until
            :func:`stages.ingest.sizes.fill_sizes` has seen the images. None where they are those displayed.
    """

    classes: list[ClassInfo]
    records: list[ImageRecord]
    notes: list[str]
    frame: Frame | None = None
