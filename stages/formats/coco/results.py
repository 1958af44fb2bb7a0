"""Reader of COCO results lists of other programs, as columns."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.errors import DataError


@dataclass(frozen=True)
class Results:
    """Predicted boxes sorted by image, falling score, class and place in the list.

    Attributes:
        image: (n,) int64 image ids.
        class_index: (n,) int32.
        box: (n, 4) float32 xyxy displayed pixels.
        score: (n,) float32.
        entries: The original list.
    """

    image: np.ndarray
    class_index: np.ndarray
    box: np.ndarray
    score: np.ndarray
    entries: list[dict[str, Any]]


def read_results(path: Path, images: set[int], categories: list[int]) -> Results:
    """Read a COCO results list.

    Args:
        path: A JSON file: a list of objects with image_id, category_id, bbox (x, y, width, height), score.
        images: Ids of the known images.
        categories: Category ids of the classes.

    Raises:
        DataError: The file does not exist, is not such a list, or has an entry of an unknown image or class.
    """
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", about="predictions") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}", about="predictions") from None
    if not isinstance(entries, list):
        raise DataError(f"{path} is not a COCO results list; give the list itself, not a dataset", about="predictions")
    index = {category: place for place, category in enumerate(categories)}
    for place, entry in enumerate(entries):
        if problem := _problem(entry, images, index):
            raise DataError(f"entry {place} of {path}: {problem}", about="predictions")
    image = np.array([entry["image_id"] for entry in entries], np.int64)
    classes = np.array([index[entry["category_id"]] for entry in entries], np.int32)
    bbox = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    score = np.array([entry["score"] for entry in entries], np.float64)
    order = np.lexsort((classes, -score, image))
    box = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1).astype(np.float32)
    return Results(image[order], classes[order], box[order], score[order].astype(np.float32), entries)


def _problem(entry: Any, images: set[int], index: dict[int, int]) -> str:
    """Problem of an entry; empty where it has none."""
    if not isinstance(entry, dict):
        return "it is not an object"
    for key in ("image_id", "category_id", "bbox", "score"):
        if key not in entry:
            return f"{key!r} is missing"
    for key, known in (("image_id", images), ("category_id", index)):
        if type(entry[key]) is not int or entry[key] not in known:
            return f"{key} {entry[key]!r} is not in the ground truth"
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(edge) for edge in box) or min(box[2:]) < 0:
        return f"bbox {box!r} is not x, y, width, height in pixels"
    return "" if _finite(entry["score"]) else f"score {entry['score']!r} is not a finite number"


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
