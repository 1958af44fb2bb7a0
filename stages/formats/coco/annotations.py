"""The entries of a COCO annotation file as image records; an entry that cannot be used is left out and counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.source import Notes
from stages.ingest import run_lengths
from stages.ingest.clip import clip_boxes
from stages.ingest.records import ImageRecord

Row = dict[str, Any]

_DROPPED = "boxes dropped: empty, inverted or outside their image"
_RENAMED = "categories share their names with others: their wnid is added to it"
_CROWD = "crowd annotations (iscrowd or ignore) left out"
_UNSIZED = "masks left out: the file does not give the size of their image"
_SEVERAL = "images have boxes of several categories: the one with most area is the label"
_WITHOUT = "images have no boxes: they have no label"


class _UnusableError(Exception):
    """Why one entry cannot be used."""


class _Object(NamedTuple):
    """An annotated object: x0, y0, x1, y1 in pixels, not clipped; class index; run lengths, which may be empty."""

    edges: list[float]
    label: int
    mask: bytes


class Annotations:
    """Contents of an annotation file.

    Args:
        name: Name of the file, for messages.
        content: The parsed file.

    Attributes:
        classes: The categories in order of their ids.
        categories: Ids of the categories.
        images: Entry of each image that can be used, by id.
        content: The file without the entries that are left out.
        notes: Findings about entries that were left out or odd; complete when :meth:`records` has ended.

    Raises:
        DataError: A list is missing, no image can be used, an id occurs twice, or the categories cannot be told
            apart.
    """

    def __init__(self, name: str, content: Any) -> None:
        self._name = name
        self.notes = Notes()
        for what in (_DROPPED, _RENAMED, _CROWD, _UNSIZED, _SEVERAL, _WITHOUT):
            self.notes.count(what, 0)
        rows = self._lists(content)
        categories = self._by_id("categories", self._category_rows(rows["categories"]))
        self.categories = sorted(categories)
        self.classes = self._classes([categories[key] for key in self.categories])
        self._index = {category: index for index, category in enumerate(self.categories)}
        self.images = self._by_id("images", self._usable("images", rows["images"], _check_image))
        if not self.images:
            why = f": {'; '.join(lines)}" if (lines := self.notes.lines()) else ""
            raise DataError(f"{name}: it lists no images that can be used{why}")
        self._sizes = {key: self._size(image) for key, image in self.images.items()}
        self._objects: dict[int, list[_Object]] = {key: [] for key in self.images}
        self._crowds: dict[int, list[tuple[int, Row]]] = {key: [] for key in self.images}
        annotations = self._usable("annotations", rows["annotations"], self._add)
        self.content: Row = content | {"images": list(self.images.values()), "annotations": annotations}

    def records(self, place: Callable[[str], tuple[str, str]]) -> Iterator[ImageRecord]:
        """The images with their clipped boxes, and the label that these give.

        Args:
            place: Function from an image's name in the file to its uri and its path below the root.
        """
        for key, image in self.images.items():
            uri, file_name = place(image["file_name"])
            width, height = self._sizes[key]
            objects = self._objects[key]
            boxes, kept = clip_boxes(np.array([one.edges for one in objects]), width, height)
            labels = np.array([one.label for one in objects], dtype=np.int32)[kept]
            masks = tuple(one.mask for one, keep in zip(objects, kept, strict=True) if keep)
            self.notes.count(_DROPPED, len(objects) - len(boxes))
            self.notes.count(_SEVERAL, len(set(labels.tolist())) > 1)
            self.notes.count(_WITHOUT, not len(labels))
            area = np.prod(boxes[:, 2:].astype(np.float64) - boxes[:, :2], axis=1)
            label = int(np.bincount(labels, weights=area).argmax()) if len(labels) else -1
            masked = any(masks)
            yield ImageRecord(
                image_id=key,
                uri=uri,
                file_name=file_name,
                label=label,
                width=width,
                height=height,
                boxes=boxes,
                box_labels=labels,
                masks=masks if masked else (),
                ignore=self._ignored(key, label) if masked else None,
            )

    def _lists(self, content: Any) -> dict[str, list[Row]]:
        if not isinstance(content, dict):
            raise DataError(f"{self._name}: a COCO dataset is an object with images, annotations and categories")
        for key in ("images", "annotations", "categories"):
            rows = content.get(key)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise DataError(f"{self._name}: {key!r} is missing or is not a list of objects")
        return content

    def _usable(self, kind: str, rows: list[Row], check: Callable[[Row], None]) -> list[Row]:
        """The entries that pass a check; the others are counted."""
        kept = []
        for row in rows:
            try:
                check(row)
            except _UnusableError as error:
                self.notes.count(f"{kind} left out: their entries cannot be used", example=_entry(kind, row, error))
            else:
                kept.append(row)
        return kept

    def _by_id(self, kind: str, rows: list[Row]) -> dict[int, Row]:
        found: dict[int, Row] = {}
        for row in rows:
            if row["id"] in found:
                raise self._wrong(kind, row, "the id is used twice")
            found[row["id"]] = row
        return found

    def _category_rows(self, rows: list[Row]) -> list[Row]:
        """All categories: a class that is left out would change the index of every class after it."""
        for row in rows:
            try:
                _check_id(row, ("id", "name"))
            except _UnusableError as error:
                raise self._wrong("categories", row, str(error)) from None
        return rows

    def _classes(self, categories: list[Row]) -> list[ClassInfo]:
        """Classes with unique names: categories that share one are told apart by their wnids."""
        count = Counter(str(row["name"]) for row in categories)
        classes = []
        for row in categories:
            name, wnid = str(row["name"]), row.get("wnid")
            if count[name] > 1 and not wnid:
                raise self._wrong("categories", row, f"another one is named {name!r} too; rename one")
            self.notes.count(_RENAMED, count[name] > 1)
            classes.append(ClassInfo(f"{name} ({wnid})" if count[name] > 1 else name, wnid))
        if len({info.name for info in classes}) < len(classes):
            raise DataError(f"{self._name}: two categories have the same name and wnid; rename one")
        return classes

    def _size(self, image: Row) -> tuple[int, int]:
        """Size (width, height) in pixels; 0 where the file does not give it."""
        width, height = (image.get(key, 0) for key in ("width", "height"))
        for key, value in (("width", width), ("height", height)):
            if type(value) is not int or value < 0:
                what = "images have a size that is not a number of pixels: it is read from the image"
                self.notes.count(what, example=_entry("images", image, f"{key} {value!r}"))
                return 0, 0
        return width, height

    def _add(self, annotation: Row) -> None:
        _check_keys(annotation, ("image_id", "category_id", "bbox"))
        known: tuple[tuple[str, dict[int, Any]], ...] = (("image_id", self.images), ("category_id", self._index))
        for key, ids in known:
            if type(annotation[key]) is not int or annotation[key] not in ids:
                raise _UnusableError(f"{key} {annotation[key]!r} is not in the file")
        box = annotation["bbox"]
        numbers = isinstance(box, list) and len(box) == 4 and all(type(edge) in (int, float) for edge in box)
        if not numbers or not all(math.isfinite(edge) for edge in box):
            raise _UnusableError(f"bbox {box!r} is not four finite numbers x, y, w, h")
        image, label = annotation["image_id"], self._index[annotation["category_id"]]
        if annotation.get("iscrowd") or annotation.get("ignore"):
            self.notes.count(_CROWD)
            self._crowds[image].append((label, annotation))
            return
        x, y, width, height = box
        self._objects[image].append(_Object([x, y, x + width, y + height], label, self._mask(annotation)))

    def _mask(self, annotation: Row) -> bytes:
        """The annotation's mask as run lengths, empty where it has none that can be used."""
        if not annotation.get("segmentation"):
            return b""
        width, height = self._sizes[annotation["image_id"]]
        if not (width and height):
            self.notes.count(_UNSIZED)
            return b""
        try:
            return run_lengths.encode_segmentation(annotation["segmentation"], width, height)
        except ValueError as error:
            what = "masks left out: they cannot be used"
            self.notes.count(what, example=_entry("annotations", annotation, error))
            return b""

    def _ignored(self, image: int, label: int) -> bytes | None:
        """The union of the regions that are not scored for a class: their masks, or else their boxes."""
        regions = [annotation for own, annotation in self._crowds[image] if own == label]
        if not regions:
            return None
        width, height = self._sizes[image]
        union = np.zeros((height, width), bool)
        for annotation in regions:
            mask = self._mask(annotation)
            if mask:
                union |= run_lengths.decode([mask], width, height)
            else:
                x, y, w, h = annotation["bbox"]
                (x0, x1), (y0, y1) = (
                    np.clip(np.round([low, low + length]), 0, side).astype(int)
                    for low, length, side in ((x, w, width), (y, h, height))
                )
                union[y0:y1, x0:x1] = True
        return run_lengths.encode(union)

    def _wrong(self, kind: str, row: Row, what: str) -> DataError:
        return DataError(f"{self._name}: {_entry(kind, row, what)}")


def _entry(kind: str, row: Row, what: object) -> str:
    return f"{kind} entry with id {row.get('id')!r}: {what}"


def _check_keys(row: Row, keys: tuple[str, ...]) -> None:
    for key in keys:
        if key not in row:
            raise _UnusableError(f"{key!r} is missing")


def _check_id(row: Row, keys: tuple[str, ...]) -> None:
    _check_keys(row, keys)
    if type(row["id"]) is not int:
        raise _UnusableError("the id is not an integer")


def _check_image(image: Row) -> None:
    _check_id(image, ("id", "file_name"))
    name = image["file_name"]
    if not isinstance(name, str) or PurePosixPath(name).is_absolute():
        raise _UnusableError(f"file_name {name!r} is not a relative path")
