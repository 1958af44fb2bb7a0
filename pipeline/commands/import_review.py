"""Corrections of a run's boxes from the tools in which people make them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.exports.boxes import boxes_of
from pipeline.exports.names import plain_name
from pipeline.store import review
from pipeline.store.manifest import read_records
from pipeline.store.rundir import RunDir
from stages.classes import ClassInfo
from stages.errors import DataError, first_line
from stages.formats.labels import Box, Label
from stages.formats.reviews.read import read_reviews
from stages.formats.reviews.review import Subjects
from stages.ingest.paths import basename
from stages.ingest.uris import read_bytes

_SAME = 0.02
"""Pixels by which a box may differ after a tool has rounded it."""


def import_review(run: RunDir, file: str | Path, method: str | None = None) -> dict[str, Any]:
    """Take the corrections of a file into a run's ``review/``.

    Args:
        run: A finished run.
        file: Export of Label Studio (JSON), CVAT (XML) or FiftyOne (COCO, ``samples.json``).
        method: Entry of ``explain.methods`` whose boxes were exported; the first where it is None.

    Returns:
        ``reviewed``, ``accepted`` and ``changed`` (numbers of images), ``notes``.

    Raises:
        DataError: The file cannot be read, or is about other images, sizes or classes; nothing is imported.
    """
    before = boxes_of(run, method, reviewed=False)
    known = {one.image.image_id: _of_labels(one.labels, before.classes) for one in before.images}
    records = [record for group in read_records(run.manifest) for record in group]
    subjects = Subjects(records, _names({one.image_id: one.file_name for one in records}))
    try:
        data = read_bytes(os.fspath(file))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or first_line(error)}") from None
    found = read_reviews(data, str(file), subjects)
    names = {info.name for info in run.classes()} | run.info().dataset_classes.keys()
    found.refused["boxes are of classes that its network does not have"] += sum(
        name not in names for one in found.reviews for name, _ in one.boxes
    )
    found.refuse(str(file))
    changed = sum(_differ(known.get(one.image_id, []), one.boxes) for one in found.reviews)
    review.store(run, found.reviews, basename(os.fspath(file)))
    return {
        "reviewed": len(found.reviews),
        "accepted": len(found.reviews) - changed,
        "changed": changed,
        "notes": found.notes.lines(),
    }


def _names(files: dict[int, str]) -> Iterator[tuple[str, int]]:
    """The names that tools may know the images by, which an export of another order may have given numbers."""
    for image, name in files.items():
        yield name, image
        for flatten in (False, True):
            yield plain_name(name, "cvat", flatten), image


def _of_labels(labels: list[Label], classes: list[ClassInfo]) -> list[tuple[str, Box]]:
    return [(classes[one.class_index].name, one.box) for one in labels if one.box is not None]


def _differ(before: list[tuple[str, Box]], now: list[tuple[str, Box]]) -> bool:
    first, second = sorted(before), sorted(now)
    if [name for name, _ in first] != [name for name, _ in second]:
        return True
    return not np.allclose([box for _, box in first], [box for _, box in second], atol=_SAME, rtol=0)
