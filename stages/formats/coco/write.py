"""COCO ground truth and COCO results: plain Python values, or the text of a file piece by piece."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from stages.batch import Batch
from stages.classes import ClassInfo
from stages.ingest.records import ImageRecord


def xywh(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) half-open xyxy as COCO's x, y, width, height, float64 rounded to 2 decimals.

    >>> xywh(np.array([[1.234, 2.5, 3.456, 9.999]], np.float32)).tolist()
    [[1.23, 2.5, 2.22, 7.5]]
    """
    edges = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = [[*row[:2], row[2] - row[0], row[3] - row[1]] for row in edges.tolist()]
    # Python rounds decimally; numpy's division by 100 could differ in the last digit.
    return np.array([[round(value, 2) for value in row] for row in sides], np.float64).reshape(-1, 4)


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
    records = list(images)
    return {
        **_header(classes, description),
        "images": [_image(record) for record in records],
        "annotations": list(_numbered(records)),
    }


def ground_truth_text(
    batches: Callable[[], Iterable[list[ImageRecord]]], classes: list[ClassInfo], description: str = ""
) -> Iterator[bytes]:
    """The compact JSON of :func:`ground_truth` in pieces, for data sets that fit in no memory.

    Args:
        batches: Goes through the images, some at a time; called once for the images and once for the
            annotations, since a COCO file has them apart.
        classes: In label order.
        description: What the data is, for ``info``.
    """
    yield _compact(_header(classes, description))[:-1] + b',"images":'
    yield from json_list([_image(record) for record in batch] for batch in batches())
    yield b',"annotations":'
    numbered = _numbered(record for batch in batches() for record in batch)
    yield from json_list(iter(lambda: list(islice(numbered, 1024)), []))
    yield b"}"


def json_list(batches: Iterable[list[Any]]) -> Iterator[bytes]:
    """The compact JSON of one list, made of parts of it.

    >>> b"".join(json_list([[], [1, 2], [3]]))
    b'[1,2,3]'
    """
    yield b"["
    separator = b""
    for batch in batches:
        if batch:
            yield separator + _compact(batch)[1:-1]
            separator = b","
    yield b"]"


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _header(classes: list[ClassInfo], description: str) -> dict[str, Any]:
    categories = [
        {"id": number, "name": info.name, "supercategory": "", **({"wnid": info.wnid} if info.wnid else {})}
        for number, info in enumerate(classes, 1)
    ]
    return {"info": {"description": description}, "licenses": [], "categories": categories}


def _image(record: ImageRecord) -> dict[str, Any]:
    return {
        "id": int(record.image_id),
        "file_name": record.file_name,
        "width": int(record.width),
        "height": int(record.height),
    }


def _numbered(images: Iterable[ImageRecord]) -> Iterator[dict[str, Any]]:
    """The annotations of images, ids counting from 1."""
    number = 0
    for image in images:
        masks = image.masks or (b"",) * len(image.boxes)
        for bbox, label, mask in zip(xywh(image.boxes).tolist(), image.box_labels.tolist(), masks, strict=True):
            if label < 0:  # a class that the network does not have is no category of this file
                continue
            number += 1
            yield {
                "id": number,
                "image_id": int(image.image_id),
                "category_id": label + 1,
                "bbox": bbox,
                "area": round(bbox[2] * bbox[3], 2),
                "iscrowd": 0,
                "segmentation": {"size": [image.height, image.width], "counts": mask.decode()} if mask else [],
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
    chosen = np.flatnonzero(ranks >= 1 if (ranks >= 1).any() else ranks == 0)
    columns = (rows[name][chosen].tolist() for name in ("image_id", "class_index", "prob"))
    entries: list[dict[str, Any]] = [
        {"image_id": image, "category_id": index + 1, "bbox": bbox, "score": round(prob, 6)}
        for image, index, prob, bbox in zip(*columns, xywh(rows["box"][chosen]).tolist(), strict=True)
    ]
    entries = [entry for entry in entries if min(entry["bbox"][2:]) > 0]
    return sorted(entries, key=lambda entry: (entry["image_id"], -entry["score"], entry["category_id"]))
