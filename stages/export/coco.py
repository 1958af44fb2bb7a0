"""COCO ground truth and COCO results: plain Python values, ready for ``json``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from stages.batch import Batch
from stages.ingest.dataset import ClassInfo, ImageRecord


def _xywh(box: np.ndarray) -> list[float]:
    """Half-open xyxy as COCO's x, y, width, height, rounded to 2 decimals."""
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return [round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)]


def ground_truth(images: Iterable[ImageRecord], classes: list[ClassInfo], description: str = "") -> dict[str, Any]:
    """A COCO dataset of images and their ground-truth boxes.

    Category ids are class index + 1, annotation ids count from 1 in the order of the images. All
    classes are listed, used or not, and images without boxes are kept.

    Args:
        images: With displayed sizes; sorted by ``image_id``.
        classes: In label order.
        description: What the data is, for ``info``. No date is written, so that equal data give equal
            files.
    """
    categories = [
        {"id": number, "name": info.name, "supercategory": "", **({"wnid": info.wnid} if info.wnid else {})}
        for number, info in enumerate(classes, 1)
    ]
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in images:
        image_id = int(image.image_id)
        entries.append(
            {
                "id": image_id,
                "file_name": image.file_name,
                "width": int(image.width),
                "height": int(image.height),
            }
        )
        for box, label in zip(image.boxes, image.box_labels, strict=True):
            if label < 0:  # a class that the network does not have is no category of this file
                continue
            bbox = _xywh(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(label) + 1,
                    "bbox": bbox,
                    "area": round(bbox[2] * bbox[3], 2),
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    return {
        "info": {"description": description},
        "licenses": [],
        "categories": categories,
        "images": entries,
        "annotations": annotations,
    }


def results(rows: Batch) -> list[dict[str, Any]]:
    """A COCO results list of one method's boxes: those of the predicted classes.

    Where no row is a prediction's, the ground-truth label's boxes are taken. Rows without a box are
    left out. ``score`` is the probability of the class, not of the box. Sorted by image, falling score
    and category.

    Args:
        rows: Columns ``image_id``, ``target_rank``, ``class_index``, ``prob`` and ``box`` (R, 4), of a
            single method; all rows of the run, or at least all with predictions or all without.
    """
    ranks = rows["target_rank"]
    chosen = ranks >= 1 if (ranks >= 1).any() else ranks == 0
    entries: list[dict[str, Any]] = [
        {
            "image_id": int(rows["image_id"][row]),
            "category_id": int(rows["class_index"][row]) + 1,
            "bbox": _xywh(rows["box"][row]),
            "score": round(float(rows["prob"][row]), 6),
        }
        for row in np.flatnonzero(chosen)
    ]
    entries = [entry for entry in entries if min(entry["bbox"][2:]) > 0]
    return sorted(entries, key=lambda entry: (entry["image_id"], -entry["score"], entry["category_id"]))
