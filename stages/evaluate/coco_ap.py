"""COCO average precision through pycocotools, one category at a time.

COCOeval visits every category x area x image. Restricted to the images that have ground truth or a
detection of a category its numbers are the same, and a thousand categories become feasible.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stages.errors import DataError

_AREAS = {"": 0, "s": 1, "m": 2, "l": 3}
_DETECTIONS = {"AR1": 0, "AR10": 1, "AR100": 2}


def _index(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    """A COCO object. Ids count from 1, because COCOeval takes an annotation 0 for unmatched."""
    coco = COCO()
    coco.dataset = {
        "images": images,
        "categories": categories,
        "annotations": [
            {
                "id": number,
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "bbox": annotation["bbox"],
                "area": annotation.get("area", annotation["bbox"][2] * annotation["bbox"][3]),
                "iscrowd": annotation.get("iscrowd", 0),
                "score": annotation.get("score", 0.0),
            }
            for number, annotation in enumerate(annotations, 1)
        ],
    }
    coco.createIndex()
    return coco


def average_precision(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """The COCO detection metrics of a results list.

    Args:
        ground_truth: A COCO dataset; ``area`` and ``iscrowd`` may be absent.
        results: A COCO results list; may be empty, which scores 0.

    Returns:
        ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR1``, ``AR10``, ``AR100``, ``ARs``,
        ``ARm``, ``ARl`` in [0, 1]; those without any ground truth of that area are absent.

    Raises:
        DataError: A result names an image that the ground truth has not.
    """
    images, categories = ground_truth["images"], ground_truth["categories"]
    known = {image["id"] for image in images}
    for result in results:
        if result["image_id"] not in known:
            raise DataError(f"predictions: image_id {result['image_id']!r} is no image of the ground truth")
    visible = defaultdict(set)
    for annotation in ground_truth["annotations"]:
        visible[annotation["category_id"]].add(annotation["image_id"])
    # A category without ground truth has no precision, whatever is detected.
    ids = sorted(category["id"] for category in categories if category["id"] in visible)
    for result in results:
        if result["category_id"] in visible:
            visible[result["category_id"]].add(result["image_id"])
    precisions, recalls = [], []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(images, categories, ground_truth["annotations"])
        # The area of a detection is its box's, whatever a file says, as loadRes has it.
        detections = [{**result, "area": np.prod(result["bbox"][2:])} for result in results]
        found = _index(images, categories, detections)
        for category in ids:
            evaluation = COCOeval(truth, found, "bbox")
            evaluation.params.catIds = [category]
            evaluation.params.imgIds = sorted(visible[category])
            evaluation.evaluate()
            evaluation.accumulate()
            precisions.append(evaluation.eval["precision"])
            recalls.append(evaluation.eval["recall"])
    if not ids:
        return {}
    # (IoU, recall, category, area, detections) and (IoU, category, area, detections)
    precision, recall = np.concatenate(precisions, axis=2), np.concatenate(recalls, axis=1)
    values = {f"AP{name}": precision[..., area, 2] for name, area in _AREAS.items()}
    values |= {"AP50": precision[0, ..., 0, 2], "AP75": precision[5, ..., 0, 2]}
    values |= {name: recall[..., 0, limit] for name, limit in _DETECTIONS.items()}
    values |= {f"AR{name}": recall[..., area, 2] for name, area in _AREAS.items() if name}
    return {name: float(part[part > -1].mean()) for name, part in values.items() if (part > -1).any()}
