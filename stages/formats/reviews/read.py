"""Reader of a file of corrections, whatever tool wrote it."""

from __future__ import annotations

import json

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as ET

from stages.errors import DataError
from stages.formats.reviews import cvat, fiftyone, labelstudio
from stages.formats.reviews.review import Findings, Subjects

_UNREADABLE = (
    *(AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError),
    *(ET.ParseError, DefusedXmlException),
)


def read_reviews(data: bytes, name: str, subjects: Subjects) -> Findings:
    """The reviews of a file: Label Studio's JSON, CVAT's XML, FiftyOne's COCO or ``samples.json``.

    Args:
        data: The file's content.
        name: Its name, for messages.
        subjects: The images that it may be about.

    Raises:
        DataError: It is none of these, is damaged, or is about other images.
    """
    try:
        found = _read(data, subjects)
        if found is not None:
            found.check(name, subjects)
    except _UNREADABLE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} cannot be read as an export of Label Studio, CVAT or FiftyOne: {what}") from None
    if found is None:
        raise DataError(f"{name} is no JSON of Label Studio, XML of CVAT, COCO file or samples.json of FiftyOne")
    if not found.reviews and not found.notes.lines():
        raise DataError(f"{name} names no image; export the tasks with their annotations")
    return found


def _read(data: bytes, subjects: Subjects) -> Findings | None:
    if data.lstrip()[:1] == b"<":
        root = ET.fromstring(data)
        return cvat.read(root, subjects) if root.tag == "annotations" else None
    tree = json.loads(data)
    if isinstance(tree, list):
        return labelstudio.read(tree, subjects)
    if isinstance(tree, dict) and "samples" in tree:
        return fiftyone.read_samples(tree, subjects)
    if isinstance(tree, dict) and {"images", "annotations"} <= set(tree):
        return fiftyone.read_coco(tree, subjects)
    return None
