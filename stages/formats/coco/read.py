"""An own dataset with boxes: images and one COCO annotation file."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.folder import dataset, require_folder
from stages.ingest import run_lengths as masks
from stages.ingest.clip import clip_boxes
from stages.ingest.paths import join
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.uris import is_file, list_folder, read_bytes

_PROBED = 50
Row = dict[str, Any]


def read(root: str, split: str) -> Dataset:
    """Read the COCO dataset in a folder.

    The annotations are the first of ``annotations.json``, ``annotations/instances_SPLIT.json``,
    ``_annotations.coco.json``, ``SPLIT/_annotations.coco.json``, ``SPLIT.json`` and the only ``*.json``.
    File names are relative to the root, ``images``, ``SPLIT`` or the folder of the annotations: whichever
    has most of the images. Classes are the categories by id. The label of an image is the category with the
    largest total box area, the lower class where two have the same.

    Raises:
        DataError: Missing folder, annotations or images, or annotations that contradict themselves.
    """
    require_folder(root)
    name = _annotation_file(root, split)
    reader = _Reader(name, _load(root, name))
    base = _image_folder(root, split, name, [image["file_name"] for image in reader.images.values()])
    records = [reader.record(image, root, base) for image in reader.images.values()]
    return dataset(reader.classes, records, reader.notes())


def read_annotations(path: str) -> tuple[Dataset, list[int]]:
    """Ground truth alone: what :func:`read` finds in an annotation file, without looking for the images.

    Returns:
        The dataset, whose images' files need not be there, and the category id of each class.

    Raises:
        DataError: No such file, or annotations that contradict themselves.
    """
    if not is_file(path):
        raise DataError(f"no annotation file {path}")
    reader = _Reader(path, _load("", path))
    records = [reader.record(image, "", "") for image in reader.images.values()]
    return dataset(reader.classes, records, reader.notes()), sorted(reader.index)


def _annotation_file(root: str, split: str) -> str:
    usual = [
        "annotations.json",
        f"annotations/instances_{split}.json",
        "_annotations.coco.json",
        f"{split}/_annotations.coco.json",
        f"{split}.json",
    ]
    for name in usual:
        if is_file(join(root, name)):
            return name
    others = [name for name in list_folder(root)[1] if name.lower().endswith(".json")]
    if len(others) != 1:
        what = f"several annotation files: {', '.join(others[:5])}" if others else "no annotation file"
        raise DataError(f"data.root: {root} has {what}; name the right one annotations.json")
    return others[0]


def _load(root: str, name: str) -> Row:
    try:
        content = json.loads(read_bytes(join(root, name)))
    except ValueError as error:
        raise DataError(f"{name}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{name}: a COCO dataset is an object with images, annotations and categories")
    for key in ("images", "annotations", "categories"):
        rows = content.get(key)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{name}: {key!r} is missing or is not a list of objects")
    return content


def _image_folder(root: str, split: str, annotation_file: str, file_names: list[str]) -> str:
    """The folder below the root ("" for itself) that has most of the images, probed on some of them."""
    if not file_names:
        raise DataError(f"{annotation_file}: it lists no images")
    probed = file_names[:: max(1, len(file_names) // _PROBED)]
    beside = str(PurePosixPath(annotation_file).parent)
    folders = dict.fromkeys(["", "images", split, f"images/{split}", "" if beside == "." else beside])
    hits: dict[str, int] = {}
    for folder in folders:
        hits[folder] = sum(is_file(_below(root, folder, name)) for name in probed)
        if hits[folder] == len(probed):
            break
    best = max(hits, key=lambda folder: hits[folder])
    if not hits[best]:
        raise DataError(f"{annotation_file}: none of its images is under {root}, such as {probed[0]}")
    return best


def _below(root: str, folder: str, name: str) -> str:
    return join(join(root, folder), name)


class _Reader:
    """Checks the annotations once, then makes one record an image."""

    def __init__(self, name: str, content: Row) -> None:
        self.name = name
        self.seen: Counter[str] = Counter()
        categories = self._by_id("categories", content["categories"], ("id", "name"))
        ordered = [categories[key] for key in sorted(categories)]
        self.index = {category["id"]: index for index, category in enumerate(ordered)}
        self.classes = self._classes(ordered)
        self.images = self._by_id("images", content["images"], ("id", "file_name"))
        for image in self.images.values():
            if not isinstance(image["file_name"], str) or PurePosixPath(image["file_name"]).is_absolute():
                raise self._wrong("images", image, f"file_name {image['file_name']!r} is no relative path")
        self.boxes: dict[int, list[tuple[list[float], int, bytes]]] = {key: [] for key in self.images}
        self.ignored: dict[int, list[tuple[int, Row]]] = {key: [] for key in self.images}
        for annotation in content["annotations"]:
            self._add(annotation)

    def record(self, image: Row, root: str, folder: str) -> ImageRecord:
        """The image with its boxes, clipped, and the label that they give."""
        width, height = (self._side(image, key) for key in ("width", "height"))
        rows = self.boxes[image["id"]]
        boxes, kept = clip_boxes(np.array([box for box, _, _ in rows]), width, height)
        self.seen["dropped"] += len(rows) - len(boxes)
        labels = np.array([label for _, label, _ in rows], dtype=np.int32)[kept]
        own_masks = tuple(mask for (_, _, mask), keep in zip(rows, kept, strict=True) if keep)
        self.seen["several"] += len(set(labels.tolist())) > 1
        self.seen["without"] += not len(labels)
        area = np.prod(boxes[:, 2:].astype(np.float64) - boxes[:, :2], axis=1)
        totals = np.bincount(labels, weights=area)
        label = int(totals.argmax()) if len(labels) else -1
        masked = any(own_masks)
        return ImageRecord(
            image_id=image["id"],
            uri=_below(root, folder, image["file_name"]),
            file_name=str(PurePosixPath(folder, image["file_name"])),
            label=label,
            width=width,
            height=height,
            boxes=boxes,
            box_labels=labels,
            masks=own_masks if masked else (),
            ignore=self._ignored(image, label, width, height) if masked else None,
        )

    def notes(self) -> list[str]:
        """What was odd, after all records are made."""
        lines = {
            "dropped": "boxes dropped: empty, inverted or outside their image",
            "renamed": "categories share their names with others: their wnid is added to it",
            "crowd": "crowd annotations (iscrowd or ignore) left out",
            "unsized": "masks left out: the file does not tell the size of their image",
            "several": "images have boxes of several categories: the one with most area is the label",
            "without": "images have no boxes: they have no label",
        }
        return [f"{self.seen[key]:,} {line}" for key, line in lines.items() if self.seen[key]]

    def _by_id(self, kind: str, rows: list[Row], keys: tuple[str, ...]) -> dict[int, Row]:
        found: dict[int, Row] = {}
        for row in rows:
            self._require(kind, row, keys)
            if type(row["id"]) is not int:
                raise self._wrong(kind, row, "the id is not an integer")
            if row["id"] in found:
                raise self._wrong(kind, row, "the id is used twice")
            found[row["id"]] = row
        return found

    def _classes(self, categories: list[Row]) -> list[ClassInfo]:
        """Classes with unique names: categories that share one are told apart by their wnids."""
        count = Counter(str(row["name"]) for row in categories)
        classes = []
        for row in categories:
            name, wnid = str(row["name"]), row.get("wnid")
            if count[name] > 1 and not wnid:
                raise self._wrong("categories", row, f"another one is named {name!r} too; rename one")
            self.seen["renamed"] += count[name] > 1
            classes.append(ClassInfo(f"{name} ({wnid})" if count[name] > 1 else name, wnid))
        if len({info.name for info in classes}) < len(classes):
            raise DataError(f"{self.name}: two categories have the same name and wnid; rename one")
        return classes

    def _add(self, annotation: Row) -> None:
        kind = "annotations"
        self._require(kind, annotation, ("image_id", "category_id", "bbox"))
        for key, known in (("image_id", self.images), ("category_id", self.index)):
            if type(annotation[key]) is not int or annotation[key] not in known:
                raise self._wrong(kind, annotation, f"{key} {annotation[key]!r} is not in the file")
        box = annotation["bbox"]
        numbers = isinstance(box, list) and len(box) == 4 and all(type(edge) in (int, float) for edge in box)
        if not numbers or not all(math.isfinite(edge) for edge in box):
            raise self._wrong(kind, annotation, f"bbox {box!r} is not four finite numbers x, y, w, h")
        label = self.index[annotation["category_id"]]
        if annotation.get("iscrowd") or annotation.get("ignore"):
            self.seen["crowd"] += 1
            self.ignored[annotation["image_id"]].append((label, annotation))
            return
        x, y, width, height = box
        edges = [x, y, x + width, y + height]
        self.boxes[annotation["image_id"]].append((edges, label, self._mask(annotation)))

    def _mask(self, annotation: Row) -> bytes:
        """The annotation's mask as run lengths, empty where it has none."""
        if not annotation.get("segmentation"):
            return b""
        image = self.images[annotation["image_id"]]
        width, height = (self._side(image, key) for key in ("width", "height"))
        if not (width and height):
            self.seen["unsized"] += 1
            return b""
        try:
            return masks.encode_segmentation(annotation["segmentation"], width, height)
        except ValueError as error:
            raise self._wrong("annotations", annotation, str(error)) from None

    def _ignored(self, image: Row, label: int, width: int, height: int) -> bytes | None:
        """The union of the regions that are not scored for a class: their masks, or else their boxes."""
        regions = [annotation for own, annotation in self.ignored[image["id"]] if own == label]
        if not regions:
            return None
        union = np.zeros((height, width), bool)
        for annotation in regions:
            mask = self._mask(annotation)
            if mask:
                union |= masks.decode([mask], width, height)
            else:
                x, y, w, h = annotation["bbox"]
                (x0, x1), (y0, y1) = (
                    np.clip(np.round([low, low + length]), 0, side).astype(int)
                    for low, length, side in ((x, w, width), (y, h, height))
                )
                union[y0:y1, x0:x1] = True
        return masks.encode(union)

    def _side(self, image: Row, key: str) -> int:
        value = image.get(key, 0)
        if type(value) is not int or value < 0:
            raise self._wrong("images", image, f"{key} {value!r} is not a number of pixels")
        return value

    def _require(self, kind: str, row: Row, keys: tuple[str, ...]) -> None:
        for key in keys:
            if key not in row:
                raise self._wrong(kind, row, f"{key!r} is missing")

    def _wrong(self, kind: str, row: Row, what: str) -> DataError:
        return DataError(f"{self.name}: {kind} entry with id {row.get('id')!r}: {what}")
