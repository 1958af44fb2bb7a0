"""What a source says about one image, and the words in which sources say it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

from stages.classes import imagenet_classes
from stages.formats.source import Notes

STEM = re.compile(r"ILSVRC2012_val_(\d+)(?:_(n\d{8}))?", re.IGNORECASE)
"""Stem of a validation image's name: its number is the image id, and some copies carry the class."""
TRAIN_STEM = re.compile(r"(n\d{8})_(\d{1,6})")
"""Stem of a training image's name: its class, and its number in it."""


class Row(NamedTuple):
    """Annotation of one image as its source gives it.

    Attributes:
        label: Index in sorted-wnid order; -1 where it is unknown.
        boxes: Class and inclusive edges xmin, ymin, xmax, ymax of each box.
        width: Width in pixels; 0 where it is unknown.
        height: Height in pixels; 0 where it is unknown.
    """

    label: int
    boxes: list[tuple[int, list[float]]]
    width: int = 0
    height: int = 0


@cache
def labels_by_wnid() -> dict[str, int]:
    """Class indices of the 1000 classes, by WordNet id."""
    return {info.wnid: index for index, info in enumerate(imagenet_classes()) if info.wnid}


def box_label(wnid: str, notes: Notes) -> int:
    """The class of a box; -1 where its wnid is none of the 1000 classes, which is counted."""
    label = labels_by_wnid().get(wnid, -1)
    notes.count("boxes with a wnid outside the 1000 classes: they have no label", label < 0)
    return label


def stem_of(name: str) -> str:
    """Key of an image among annotations: the stem of its name, whatever its folder, extension or class in it.

    >>> stem_of("val/ILSVRC2012_val_00000007_n01440764.JPEG"), stem_of("ILSVRC2012_val_00000007")
    ('ILSVRC2012_val_00000007', 'ILSVRC2012_val_00000007')
    """
    stem = PurePosixPath(name.strip()).stem
    found = STEM.fullmatch(stem)
    return f"ILSVRC2012_val_{int(found[1]):08d}" if found else stem
