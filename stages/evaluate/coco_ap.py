"""COCO average precision, one category at a time.

COCOeval visits every category x area x image. Restricted to the images that have ground truth or a
detection of a category its numbers are the same, and a thousand categories become feasible. Boxes are stored as
columns; only those of one category at a time become Python objects.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from stages.errors import DataError
from stages.evaluate.statistics.bootstrap import DECIMALS

_AREAS = {"": 0, "s": 1, "m": 2, "l": 3}
_DETECTIONS = {"AR1": 0, "AR10": 1, "AR100": 2}
_Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class Boxes:
    """Ground truth or detections of a whole run, one entry per box.

    Attributes:
        image: (n,) int64 image ids.
        category: (n,) category ids.
        bbox: (n, 4) float, x, y, width, height in pixels.
        score: (n,) float scores of detections; None for ground truth.
        area: (n,) float areas of ground truth, by which COCO calls it small, medium or large; None for the
            boxes' areas.
        crowd: (n,) bool, ground truth that is neither found nor missed; None where there is none.
    """

    image: np.ndarray
    category: np.ndarray
    bbox: np.ndarray
    score: np.ndarray | None = None
    area: np.ndarray | None = None
    crowd: np.ndarray | None = None

    def without(self, images: np.ndarray) -> Boxes:
        """Boxes of all images except the given ones."""
        kept = ~np.isin(self.image, images)
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        own: dict[str, Any] = {name: None if column is None else column[kept] for name, column in columns.items()}
        return Boxes(**own)


def average_precision(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], excluded: np.ndarray | None = None
) -> dict[str, float]:
    """The COCO detection metrics of a results list.

    Args:
        ground_truth: A COCO dataset; ``area`` and ``iscrowd`` may be absent.
        results: A COCO results list; may be empty, which scores 0.
        excluded: Ids of images that are not scored.

    Returns:
        Metrics as in :func:`box_average_precision`.

    Raises:
        DataError: A result names an image that is not in the ground truth.
    """
    known = {image["id"] for image in ground_truth["images"]}
    for result in results:
        if result["image_id"] not in known:
            raise DataError(f"image_id {result['image_id']!r} is not an image of the ground truth", about="predictions")
    categories = {category["id"] for category in ground_truth["categories"]}
    truth = [entry for entry in ground_truth["annotations"] if entry["category_id"] in categories]
    bbox, own_bbox = (np.array([entry["bbox"] for entry in part], float).reshape(-1, 4) for part in (truth, results))
    areas = [entry.get("area", np.prod(entry["bbox"][2:])) for entry in truth]
    sides = (
        Boxes(
            *_ids(truth),
            bbox,
            area=np.array(areas, float),
            crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in truth], bool),
        ),
        Boxes(*_ids(results), own_bbox, score=np.array([entry["score"] for entry in results], float)),
    )
    left_out = np.zeros(0, np.int64) if excluded is None else excluded
    return box_average_precision(*(side.without(left_out) for side in sides))


def _ids(entries: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([entry["image_id"] for entry in entries], np.int64),
        np.array([entry["category_id"] for entry in entries], np.int64),
    )


def box_average_precision(truth: Boxes, found: Boxes) -> dict[str, float]:
    """The COCO detection metrics of detections against ground truth.

    Computed by faster-coco-eval where it is installed, else by pycocotools; the values are the same.

    Args:
        truth: Ground truth. A category without any has no precision, whatever is detected of it.
        found: Detections, whose area is that of the box. Among equal scores the first in order counts first.

    Returns:
        ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR1``, ``AR10``, ``AR100``, ``ARs``,
        ``ARm``, ``ARl`` in [0, 1]; those without any ground truth of that area are absent.
    """
    library = _library()
    precisions, recalls = [], []
    for own_truth, own_found in _by_category(truth, found):
        precision, recall = _evaluate(library, own_truth, own_found)
        # For an area, either all recall levels have a precision or none has, which -1 marks.
        precisions.append(precision[:, :, 0, :, 2].mean(1))
        recalls.append(recall[:, 0])
    if not precisions:
        return {}
    # (category, IoU, area) and (category, IoU, area, detections)
    precision, recall = np.stack(precisions), np.stack(recalls)
    values = {f"AP{name}": precision[..., area] for name, area in _AREAS.items()}
    values |= {"AP50": precision[:, 0, 0], "AP75": precision[:, 5, 0]}
    values |= {name: recall[..., 0, limit] for name, limit in _DETECTIONS.items()}
    values |= {f"AR{name}": recall[..., area, 2] for name, area in _AREAS.items() if name}
    return {name: round(float(part[part > -1].mean()), DECIMALS) for name, part in values.items() if (part > -1).any()}


def _library() -> tuple[Any, Any]:
    """The classes COCO and COCOeval of the fastest installed library."""
    try:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    except ImportError:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    return COCO, COCOeval


def _by_category(truth: Boxes, found: Boxes) -> Iterator[tuple[_Entries, _Entries]]:
    """Annotations and detections of each category that has ground truth, ids counting from 1.

    COCOeval treats annotation id 0 as unmatched.
    """
    orders = [np.argsort(boxes.category, kind="stable") for boxes in (truth, found)]
    ordered = [boxes.category[order] for boxes, order in zip((truth, found), orders, strict=True)]
    for category in np.unique(truth.category):
        own = []
        for boxes, order, categories in zip((truth, found), orders, ordered, strict=True):
            rows = order[slice(*np.searchsorted(categories, [category, category + 1]))]
            own.append(_entries(boxes, rows))
        yield own[0], own[1]


def _entries(boxes: Boxes, rows: np.ndarray) -> _Entries:
    bbox = boxes.bbox[rows].astype(float)
    areas = bbox[:, 2] * bbox[:, 3] if boxes.area is None else boxes.area[rows]
    crowd = np.zeros(len(rows), bool) if boxes.crowd is None else boxes.crowd[rows]
    # A NaN score ranks below every other.
    score = np.zeros(len(rows)) if boxes.score is None else np.nan_to_num(boxes.score[rows], nan=-1.0)
    columns = boxes.image[rows].tolist(), bbox.tolist(), areas.tolist(), crowd.tolist(), score.tolist()
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "bbox": box,
            "area": area,
            "iscrowd": int(ignored),
            "score": value,
        }
        for number, (image, box, area, ignored, value) in enumerate(zip(*columns, strict=True), 1)
    ]


def _evaluate(
    library: tuple[Any, Any], truth: list[dict[str, Any]], found: list[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (IoU, recall, 1, area, detections) and recall (IoU, 1, area, detections) of a category."""
    index, evaluator = library
    visible = sorted({entry["image_id"] for entry in (*truth, *found)})
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth, found):
            side = index()
            side.dataset = {
                "images": [{"id": image} for image in visible],
                "categories": [{"id": 1, "name": ""}],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        evaluation = evaluator(*sides, "bbox")
        evaluation.params.imgIds, evaluation.params.catIds = visible, [1]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]
