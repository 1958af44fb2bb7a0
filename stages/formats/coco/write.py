"""Writer of COCO datasets and COCO results, as pieces of compact JSON or as plain Python values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from stages.batch import Batch
from stages.classes import ClassInfo
from stages.formats.labels import Box, Files, Images, Labelled, Split
from stages.ingest.records import ImageRecord

_PIECE = 1024


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """A COCO dataset that :func:`stages.formats.coco.read.read` reads: a file for each part.

    Args:
        splits: Parts, whose images are as for :func:`ground_truth_text`.
        classes: Classes in label order.
        description: Description of the data, for ``info``.
    """
    for split in splits:
        name = f"annotations/instances_{split.name}.json" if split.name else "annotations.json"
        yield name, ground_truth_text(split.images, classes, description)


def ground_truth_text(images: Images, classes: Sequence[ClassInfo], description: str) -> Iterator[bytes]:
    """A COCO dataset as compact JSON in pieces, for datasets that do not fit in memory.

    Category ids are class index + 1, annotation ids count from 1 in the order of the images. All classes are
    listed, used or not, and images without boxes are kept. Labels without a box, or of a class that is not
    listed, are left out.

    Args:
        images: Images with displayed sizes, sorted by ``image_id``; iterated twice, since a COCO file has
            separate lists of images and annotations.
        classes: Classes in label order.
        description: Description of the data, for ``info``. No date is written, so that equal data give equal files.
    """
    yield _compact(_header(classes, description))[:-1] + b',"images":'
    yield from json_list(in_pieces(_image(image) for image, _ in images()))
    yield b',"annotations":'
    yield from json_list(in_pieces(_numbered(images())))
    yield b"}"


def json_list(batches: Iterable[list[Any]]) -> Iterator[bytes]:
    """The compact JSON of a list that is given in parts.

    Args:
        batches: Parts of the list, JSON values.

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


def in_pieces(entries: Iterator[Any]) -> Iterator[list[Any]]:
    """Parts of a list for :func:`json_list`."""
    return iter(lambda: list(islice(entries, _PIECE)), [])


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _header(classes: Sequence[ClassInfo], description: str) -> dict[str, Any]:
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


def _numbered(images: Iterable[Labelled]) -> Iterator[dict[str, Any]]:
    """The annotations of images, with ids counting from 1."""
    number = 0
    for image, labels in images:
        for label in labels:
            if label.box is None or label.class_index < 0:
                continue
            number += 1
            bbox = rounded_xywh(label.box)
            mask = {"size": [image.height, image.width], "counts": label.mask.decode()} if label.mask else []
            yield {
                "id": number,
                "image_id": int(image.image_id),
                "category_id": label.class_index + 1,
                "bbox": bbox,
                "area": round(bbox[2] * bbox[3], 2),
                "iscrowd": 0,
                "segmentation": mask,
            } | ({} if label.score is None else {"score": round(label.score, 6)})


def rounded_xywh(box: Box) -> list[float]:
    """A half-open xyxy box as x, y, width, height, rounded to 2 decimals."""
    x0, y0, x1, y1 = box
    # Python rounds decimally; numpy's division by 100 could differ in the last digit.
    return [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]


def xywh(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) half-open xyxy as COCO's x, y, width, height, float64 rounded to 2 decimals.

    >>> xywh(np.array([[1.234, 2.5, 3.456, 9.999]], np.float32)).tolist()
    [[1.23, 2.5, 2.22, 7.5]]
    """
    edges = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.array([rounded_xywh((x0, y0, x1, y1)) for x0, y0, x1, y1 in edges.tolist()], np.float64).reshape(-1, 4)


def results(rows: Batch) -> list[dict[str, Any]]:
    """A COCO results list of one method's boxes for the predicted classes.

    Where no row belongs to a prediction, the ground-truth label's boxes are taken. Rows without a box are
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
