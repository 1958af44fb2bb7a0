"""A run's boxes as labels of its images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipeline.scores.quality import boxes_with_cues, quality_model
from pipeline.store.manifest import read_records
from pipeline.store.rundir import RunDir
from stages.classes import ClassInfo
from stages.errors import ConfigurationError, DataError, unknown
from stages.formats.labels import Box, Label, Labelled

_COLUMNS = ["image_id", "class_index", "prob", "box"]


class _Row(NamedTuple):
    """A row of the predictions."""

    output: int
    prob: float
    box: Box
    quality: float | None


@dataclass(frozen=True)
class Boxes:
    """The images of a run with a label each.

    Attributes:
        images: Images that ended without an error, by ``image_id``, with the boxes of a method.
        classes: The classes of the labels, in the order of the dataset.
        notes: Findings, one line each, with counts.
    """

    images: list[Labelled]
    classes: list[ClassInfo]
    notes: list[str]


def boxes_of(run: RunDir, method: str | None, min_score: float, min_quality: float) -> Boxes:
    """The boxes of the images' labels; where no image has a label, those of the first prediction.

    A box is clipped to its image. One that is narrower than a pixel then is left out, as is one of a class that is
    less probable, or of a quality that is lower than asked for; the image and its label stay.

    Args:
        run: A finished run.
        method: Entry of ``explain.methods``; None takes the first.
        min_score: Probability of the class from which on a box counts, in [0, 1].
        min_quality: Quality from which on a box counts, in [0, 1].

    Raises:
        ConfigurationError: The run has no such method, or made no boxes of labels or predictions.
        DataError: The run is not complete.
    """
    if not run.complete:
        raise DataError(f"{run} is not complete; run its command again, which goes on with it")
    methods = run.config().explain.methods
    method = methods[0] if method is None else method
    if method not in methods:
        raise unknown("method", method, methods, about="method")
    rank = _rank(run)
    found = _rows(run, method, rank)
    failed = {image for part in run.errors() for image in part["image_id"].to_pylist()}
    classes, index_of = _categories(run, rank, found)
    images, small, improbable, doubtful, boxless = [], 0, 0, 0, 0
    source = run.config().data.format
    for group in read_records(run.manifest):
        for record in group:
            if record.image_id in failed:
                continue
            index, labels = index_of.get(record.label, -1), []
            if record.image_id in found:
                row = found[record.image_id]
                box = _clipped(row.box, record.width, record.height)
                if box is None or row.quality is None:
                    small += 1
                elif row.prob < min_score:
                    improbable += 1
                elif row.quality < min_quality:
                    doubtful += 1
                else:
                    own = index_of[row.output]
                    labels = [Label(record.image_id, own, box, row.prob, row.quality, method, "pseudo")]
            if index >= 0 and not labels:
                labels = [Label(record.image_id, index, None, None, None, source, "given")]
            boxless += all(label.box is None for label in labels)
            images.append(Labelled(replace(record, label=index), labels))
    counts = {
        "images failed in the run: left out": len(failed),
        "boxes are empty or narrower than a pixel: left out": small,
        f"boxes are of classes less probable than {min_score:g}: left out": improbable,
        f"boxes are of a quality below {min_quality:g}: left out": doubtful,
        "images have no box": boxless,
    }
    what = "of the label" if rank == 0 else "of the first prediction, since no image has a label"
    notes = [f"boxes by {method}, {what}", *(f"{count:,} {text}" for text, count in counts.items() if count)]
    return Boxes(images, classes, notes)


def _rank(run: RunDir) -> int:
    """Rank of the target whose boxes are the labels: 0, the label, or 1 where no image has one.

    Raises:
        ConfigurationError: The run has no boxes of either.
    """
    targets, labelled = run.config().explain.targets, run.info().labelled
    if "label" in targets and labelled:
        return 0
    if not labelled and any(target.startswith("top") for target in targets):
        return 1
    need = "label" if labelled else "top1"
    raise ConfigurationError(f"{run} has no boxes of it: run with explain.targets=[{need}]", about="targets")


def _rows(run: RunDir, method: str, rank: int) -> dict[int, _Row]:
    """The rows of a method and rank by image."""
    found: dict[int, _Row] = {}
    model = quality_model(run)
    for part, cues in boxes_with_cues(run, method, rank, _COLUMNS):
        columns = (part[name].to_pylist() for name in _COLUMNS)
        for image, output, prob, box, quality in zip(*columns, model.quality(cues).tolist(), strict=True):
            found[image] = _Row(output, prob, tuple(box), None if math.isnan(quality) else quality)
    return found


def _categories(run: RunDir, rank: int, found: dict[int, _Row]) -> tuple[list[ClassInfo], dict[int, int]]:
    """The classes of the labels, and their index by network output."""
    named = run.classes()
    used = {row.output for row in found.values()}
    if rank == 0:
        used |= {record.label for group in read_records(run.manifest) for record in group} - {-1}
    order = sorted(used)
    return [named[output] for output in order], {output: index for index, output in enumerate(order)}


def _clipped(box: Box, width: int, height: int) -> Box | None:
    x0, y0, x1, y1 = np.clip(np.array(box, np.float64), 0, [width, height, width, height]).tolist()
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= 1 else None
