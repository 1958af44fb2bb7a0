"""A run's boxes as labels of its images."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from pipeline.exports.categories import Categories
from pipeline.scores.quality import boxes_with_quality, method_of
from pipeline.store.manifest import read_records
from pipeline.store.review import read_stored
from pipeline.store.rundir import RunDir
from stages.boxes.iou import iou
from stages.classes import ClassInfo
from stages.errors import ConfigurationError
from stages.explain.targets import LABEL, LABELS, MOST_PRESENT, PRESENT, of_labels, of_predictions
from stages.formats.labels import Box, Label, Labelled
from stages.formats.reviews.review import Review
from stages.formats.source import Notes
from stages.ingest.records import ImageRecord

ALIKE = 0.7
"""Overlap from which on two boxes are nearly one."""
_ALIKE = (
    f"pairs of two classes of an image have nearly one box (IoU over {ALIKE:g}): "
    "in a run of explain.targets=[labels], explain.contrast=0.6 takes the other labels' maps off each; for classes "
    "that are alike there is explain.methods=[finercam]"
)
_COLUMNS = ["image_id", "target_rank", "class_index", "prob", "box"]
_RANKS = range(1, 1 + MOST_PRESENT)
"""Ranks of predictions."""


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
        reviewed: Number of images of which a person said what they show.
    """

    images: list[Labelled]
    classes: list[ClassInfo]
    notes: list[str]
    reviewed: int


def boxes_of(
    run: RunDir, method: str | None, min_score: float = 0.0, min_quality: float = 0.0, reviewed: bool = True
) -> Boxes:
    """The boxes of the images' labels; where no image has a label, those of the first prediction or of all present.

    A box is clipped to its image. One that is narrower than a pixel then is left out, as is one of a class that is
    less probable, or of a quality that is lower than asked for; the image and its label stay. What a person said of an
    image counts instead of its box.

    Args:
        run: A finished run.
        method: Entry of ``explain.methods``; None takes the first.
        min_score: Probability of the class from which on a box counts, in [0, 1].
        min_quality: Quality from which on a box counts, in [0, 1].
        reviewed: Whether the run's reviews count.

    Raises:
        ConfigurationError: The run has no such method, or made no boxes of labels or predictions.
        DataError: The run is not complete.
    """
    method = method_of(run, method)
    rank, notes = _rank(run), Notes()
    explain = run.config().explain
    what: str = "of the label"
    ranks: Sequence[int] = [rank]
    if rank == 0 and LABELS in explain.targets:
        what = "of all labels"
    elif rank == 1 and PRESENT in explain.targets:
        what, ranks = f"of classes from explain.present={explain.present:g} on, since no image has a label", _RANKS
    elif rank == 1:
        what = "of the first prediction, since no image has a label"
    notes.say(f"boxes by {method}, {what}")
    rows = _rows(run, method, ranks, explain.present)
    reviews = read_stored(run) if reviewed else {}
    failed = {image for part in run.errors() for image in part["image_id"].to_pylist()}
    notes.count("images failed in the run: left out", len(failed))
    records = [one for group in read_records(run.manifest) for one in group if one.image_id not in failed]
    stated = {one.image_id: one.shown if rank == 0 else () for one in records}
    used = {row.output for own in rows.values() for row in own}.union(*stated.values())
    categories = Categories(run, used, [name for one in reviews.values() for name, _ in one.boxes])
    index_of = categories.index_of
    source, images = run.config().data.format, []
    for record in records:
        index = index_of.get(record.label, -1)
        if record.image_id in reviews:
            labels = _reviewed(reviews[record.image_id], record, categories.index_named, notes)
        else:
            labels = []
            for row in rows.get(record.image_id, []):
                box = clipped(row.box, record.width, record.height)
                reason = _reason(row, box, min_score, min_quality)
                notes.count(f"{reason}: left out", bool(reason))
                if not reason:
                    own = index_of[row.output]
                    labels.append(Label(record.image_id, own, box, row.prob, row.quality, method, "pseudo"))
            boxed = {label.class_index for label in labels}
            further = dict.fromkeys(index_of[one] for one in stated[record.image_id])
            labels += [
                Label(record.image_id, one, None, None, None, source, "given") for one in further if one not in boxed
            ]
        notes.count("images have no box", all(label.box is None for label in labels))
        notes.count(_ALIKE, _overlapping(labels))
        images.append(Labelled(replace(record, label=index), labels))
    seen = sum(one.image_id in reviews for one in records)
    notes.count("images were reviewed by a person", seen)
    return Boxes(images, categories.classes, [line for line in notes.lines() if not line.startswith("0 ")], seen)


def _overlapping(labels: list[Label]) -> int:
    """Number of pairs of boxes of two classes that are nearly one box."""
    boxed = [(one.class_index, np.array(one.box)) for one in labels if one.box is not None]
    return sum(one != other and bool(iou(a, b) > ALIKE) for (one, a), (other, b) in combinations(boxed, 2))


def _reason(row: _Row, box: Box | None, min_score: float, min_quality: float) -> str:
    """Why a row's box does not count; empty where it does."""
    if box is None or row.quality is None:
        return "boxes are empty or narrower than a pixel"
    if row.prob < min_score:
        return f"boxes are of classes less probable than {min_score:g}"
    return f"boxes are of a quality below {min_quality:g}" if row.quality < min_quality else ""


def _reviewed(review: Review, record: ImageRecord, by_name: dict[str, int], notes: Notes) -> list[Label]:
    """The labels that a person gave an image."""
    labels = []
    for name, edges in review.boxes:
        box = clipped(edges, record.width, record.height)
        notes.count("reviewed boxes are outside their image or narrower than a pixel: left out", box is None)
        if box is not None:
            labels.append(Label(record.image_id, by_name[name], box, None, 1.0, review.by or "review", "reviewed"))
    return labels


def _rank(run: RunDir) -> int:
    """Rank of the target whose boxes are the labels: 0, the label, or 1 where no image has one.

    Raises:
        ConfigurationError: The run has no boxes of either.
    """
    targets, labelled = run.config().explain.targets, run.info().labelled
    if of_labels(targets) and labelled:
        return 0
    if not labelled and of_predictions(targets):
        return 1
    need = LABEL if labelled else "top1"
    raise ConfigurationError(f"{run} has no boxes of it: run with explain.targets=[{need}]", about="targets")


def _rows(run: RunDir, method: str, ranks: Sequence[int], present: float) -> dict[int, list[_Row]]:
    """The rows of a method and some ranks by image, without further predictions that are not present."""
    found: dict[int, list[_Row]] = defaultdict(list)
    for part, rated in boxes_with_quality(run, method, ranks, _COLUMNS):
        columns = (part[name].to_pylist() for name in _COLUMNS)
        for image, rank, output, prob, box, quality in zip(*columns, rated.tolist(), strict=True):
            if rank > 1 and prob < present:
                continue
            found[image].append(_Row(output, prob, tuple(box), None if math.isnan(quality) else quality))
    return found


def clipped(box: Box, width: int, height: int) -> Box | None:
    """A box without what is outside its image; None where less than a pixel remains."""
    x0, y0, x1, y1 = np.clip(np.array(box, np.float64), 0, [width, height, width, height]).tolist()
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= 1 else None
