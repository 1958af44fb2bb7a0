"""Writer of Pascal VOC datasets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

from stages.classes import ClassInfo
from stages.formats.labels import Box, Files, Labelled, Split
from stages.formats.xml_text import storable


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``Annotations/``, ``ImageSets/Main/`` and ``labelmap.txt``, in the layout of the published years.

    Coordinates are whole pixels counted from 1, and both edges are inside the box. They are rounded outwards: a box
    never cuts off what it had. ``<confidence>``, which is no part of the published format, holds the score.

    Args:
        splits: The parts of the dataset; ``ImageSets/Main/`` has a list for each, ``default.txt`` where there is one.
        classes: Classes in label order.
        description: Description of the data, for ``<source>``.
    """
    for split in splits:
        for one in split.images():
            yield f"Annotations/{_stem(one)}.xml", [_xml(one, classes, description)]
    for split in splits:
        yield f"ImageSets/Main/{split.name or 'default'}.txt", (f"{_stem(one)}\n".encode() for one in split.images())
    yield "labelmap.txt", _label_map(classes)


def _label_map(classes: Sequence[ClassInfo]) -> Iterable[bytes]:
    """datumaro's list of classes, without which it knows only those of VOC."""
    yield b"# label:color_rgb:parts:actions\n"
    for info in classes:
        yield f"{' '.join(storable(info.name).splitlines())}:::\n".encode()


def _stem(one: Labelled) -> str:
    return str(PurePosixPath(one.image.file_name).with_suffix(""))


def _xml(one: Labelled, classes: Sequence[ClassInfo], description: str) -> bytes:
    image, labels = one
    folder, _, name = image.file_name.rpartition("/")
    root = ET.Element("annotation")
    _add(root, folder=folder, filename=name)
    _add(ET.SubElement(root, "source"), database=description)
    _add(ET.SubElement(root, "size"), width=image.width, height=image.height, depth=3)
    _add(root, segmented=0)
    for label in labels:
        if label.box is None:
            continue
        found = ET.SubElement(root, "object")
        _add(found, name=classes[label.class_index].name, pose="Unspecified", truncated=0, difficult=0)
        x0, y0, x1, y1 = inclusive(label.box)
        _add(ET.SubElement(found, "bndbox"), xmin=x0, ymin=y0, xmax=x1, ymax=y1)
        if label.score is not None:
            _add(found, confidence=round(label.score, 6))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text + b"\n"


def _add(parent: ET.Element, **texts: object) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = storable(str(text))


def inclusive(box: Box) -> tuple[int, int, int, int]:
    """First and last pixel of a box, counted from 1.

    >>> inclusive((4.0, 3.0, 20.0, 15.0)), inclusive((0.5, 0.25, 10.75, 9.5))
    ((5, 4, 20, 15), (1, 1, 11, 10))
    """
    x0, y0, x1, y1 = box
    return math.floor(x0) + 1, math.floor(y0) + 1, math.ceil(x1), math.ceil(y1)
