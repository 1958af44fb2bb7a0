"""Reader of COCO results lists of other programs, as columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from stages.errors import DataError
from stages.formats.coco.box_format import BoxFormat, choose, edges, is_inverted
from stages.formats.coco.entries import Key, find, id_key, number, numbers
from stages.formats.coco.file import parse
from stages.formats.coco.images import clean
from stages.formats.coco.listed import Listed
from stages.formats.source import Notes

_LEFT_OUT = "predictions left out: their entries cannot be used"
_CLIPPED = "predicted boxes clipped: they end outside their image"
_KEYS = ("image_id", "category_id", "bbox", "score")


class _UnusableError(Exception):
    """Why one entry cannot be used."""


class _Entry(NamedTuple):
    image: int
    class_index: int
    values: list[float]
    score: float


@dataclass(frozen=True)
class Results:
    """Predicted boxes sorted by image, falling score, class and place in the list.

    Attributes:
        image: (n,) int64 image ids.
        class_index: (n,) int32.
        box: (n, 4) float32 xyxy displayed pixels.
        score: (n,) float32.
        entries: The list as COCO defines it, in its own order, without what cannot be used.
        notes: Findings, one line each.
    """

    image: np.ndarray
    class_index: np.ndarray
    box: np.ndarray
    score: np.ndarray
    entries: list[dict[str, Any]]
    notes: list[str]


def read_results(
    path: Path, listed: Listed, sizes: Mapping[int, tuple[int, int]], box_format: BoxFormat = "auto"
) -> Results:
    """Read a COCO results list; entries that cannot be used are counted.

    Args:
        path: A JSON file: a list of objects with image_id, category_id, bbox, score.
        listed: Images and categories of the ground truth.
        sizes: Width and height of each image in pixels.
        box_format: Convention of the boxes.

    Raises:
        DataError: The file does not exist, is not such a list, has no entry of a known image and class, or has boxes
            of another convention.
    """
    try:
        given = parse(str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", about="predictions") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}", about="predictions") from None
    if not isinstance(given, list):
        raise DataError(f"{path} is not a COCO results list; give the list itself, not a dataset", about="predictions")
    notes = Notes()
    kept: list[_Entry] = []
    images = _images(given, listed, notes)
    for place, row in enumerate(given):
        try:
            kept.append(_entry(row, images, listed, box_format))
        except _UnusableError as error:
            notes.count(_LEFT_OUT, example=f"entry {place}: {error}")
    if given and not kept:
        raise DataError(f"{path}: {notes.lines()[0]}; none is left", about="predictions")
    notes.say(_counted_from_zero(given, listed))
    image = np.array([one.image for one in kept], np.int64)
    classes = np.array([one.class_index for one in kept], np.int32)
    values = np.array([one.values for one in kept], np.float64).reshape(-1, 4)
    score = np.array([one.score for one in kept], np.float64)
    frames = np.array([sizes[one.image] for one in kept], np.float64).reshape(-1, 2)
    chosen = choose(box_format, "auto", values, frames, str(path), "predictions_box_format")
    found = edges(values, frames, chosen)
    outside = ((found < -1) | (found > np.tile(frames, 2) + 1)).any(axis=1) & (frames > 0).all(axis=1)
    notes.count(_CLIPPED, int(outside.sum()))
    bbox = values if chosen == "xywh" else np.concatenate([found[:, :2], found[:, 2:] - found[:, :2]], axis=1)
    categories = [listed.categories[one.class_index] for one in kept]
    rows = zip(image.tolist(), categories, bbox.tolist(), score.tolist(), strict=True)
    entries = [dict(zip(_KEYS, row, strict=True)) for row in rows]
    order = np.lexsort((classes, -score, image))
    box = found[order].astype(np.float32)
    return Results(image[order], classes[order], box, score[order].astype(np.float32), entries, notes.lines())


def _images(given: list[Any], listed: Listed, notes: Notes) -> Mapping[Key, int]:
    """Numbers of the images by what the predictions call them: their ids, or their file names where these fit more."""
    called = {id_key(row.get("image_id")) for row in given if isinstance(row, dict)}
    if called <= listed.image_number.keys():
        return listed.image_number
    numbers: dict[Key, set[int]] = defaultdict(set)
    for image, entry in listed.images.items():
        path = PurePosixPath(*clean(entry["file_name"]))
        for name in (str(path), str(path.with_suffix("")), path.name, path.stem):
            if (key := id_key(name)) is not None:
                numbers[key].add(image)
    named = {key: min(images) for key, images in numbers.items() if len(images) == 1}
    if len(called & named.keys()) <= len(called & listed.image_number.keys()):
        return listed.image_number
    notes.say("the predictions call the images by their file names, not by their ids")
    return named


def _counted_from_zero(given: list[Any], listed: Listed) -> str:
    """A warning where category ids seem to be places among the categories; otherwise empty."""
    called = {id_key(row.get("category_id")) for row in given if isinstance(row, dict)}
    if 0 in listed.categories or 0 not in called or not called <= set(range(len(listed.categories))):
        return ""
    return "the predictions seem to count the categories from 0: write their ids, or the classes are wrong"


def _entry(row: Any, images: Mapping[Key, int], listed: Listed, box_format: BoxFormat) -> _Entry:
    if not isinstance(row, dict):
        raise _UnusableError("it is not an object")
    for key in _KEYS:
        if key not in row:
            raise _UnusableError(f"{key!r} is missing")
    image, class_index = find(images, row["image_id"]), find(listed.category_index, row["category_id"])
    if image is None or class_index is None:
        key = "image_id" if image is None else "category_id"
        raise _UnusableError(f"{key} {row[key]!r} is not in the ground truth")
    values, score = numbers(row["bbox"]), number(row["score"])
    if values is None or is_inverted(values, box_format):
        what = "x, y, width, height in pixels" if box_format in ("auto", "xywh") else box_format
        raise _UnusableError(f"bbox {row['bbox']!r} is not {what}")
    if score is None:
        raise _UnusableError(f"score {row['score']!r} is not a finite number")
    return _Entry(image, class_index, values, score)
