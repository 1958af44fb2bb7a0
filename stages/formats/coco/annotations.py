"""The annotations of a COCO file as image records; an entry that cannot be used is left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.formats.coco.box_format import BoxFormat, choose, edges, is_relative
from stages.formats.coco.entries import Row, find, flag, number, numbers
from stages.formats.coco.listed import UNUSABLE, entry, listed
from stages.formats.labels import main_class
from stages.formats.source import Notes
from stages.ingest import run_lengths
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.records import ImageRecord

_DROPPED = "boxes dropped: empty, inverted or outside their image"
_CLIPPED = "boxes clipped: they end outside their image"
_CROWD = "crowd annotations (iscrowd or ignore) left out"
_UNSIZED = "masks left out: the file does not give the size of their image"
_SEVERAL = "images have boxes of several categories: the one with most area is the label"
_WITHOUT = "images have no boxes: they have no label"
_TAGS = "annotations have no box: they only label their image"
_SEVERAL_TAGS = "images have labels of several categories and no boxes: the most frequent one, or the first, is taken"
_UNSCALED = "boxes are relative to a size that the file does not give: they are dropped"
_OUTLINED = "boxes are those of the masks: their annotations have none"


class _UnusableError(Exception):
    """Why one entry cannot be used."""


@dataclass(slots=True)
class _Object:
    """An annotated object.

    Attributes:
        row: Its entry.
        label: Class index.
        crowd: Whether it is neither found nor missed.
        values: The four numbers of its box as the file gives them; empty where the mask gives the box.
        mask: Run lengths, which may be empty; those of a crowd are made when they are needed.
        edges: x0, y0, x1, y1 in pixels, not clipped.
    """

    row: Row
    label: int
    crowd: bool
    values: list[float]
    mask: bytes = b""
    edges: list[float] = field(default_factory=list)


class Annotations:
    """Contents of an annotation file.

    Args:
        name: Name of the file, for messages.
        content: The parsed file.
        box_format: Convention of its boxes.
        about: Name of the option for that convention, for messages.
        likely: Convention that ``auto`` takes instead of xywh where the boxes show it.

    Attributes:
        listed: Its images and categories.
        sizes: Displayed width and height of each image in pixels, by number; 0 where the file does not give them.
        notes: Findings about entries that were left out or odd; complete when :meth:`records` has ended.

    Raises:
        DataError: There is no list of images, none can be used, the categories cannot be told apart, or the boxes
            follow another convention.
    """

    def __init__(self, name: str, content: Any, box_format: BoxFormat, about: str, likely: BoxFormat = "auto") -> None:
        self._name = name
        self.notes = Notes()
        self.notes.count(_DROPPED, 0)
        self.listed = listed(name, content, self.notes)
        for what in (_CROWD, _UNSIZED, _SEVERAL, _WITHOUT, _CLIPPED):
            self.notes.count(what, 0)
        self.sizes = {key: self._size(image) for key, image in self.listed.images.items()}
        self._objects: dict[int, list[_Object]] = {key: [] for key in self.listed.images}
        self._tags: dict[int, list[int]] = {}
        for row in self.listed.annotations:
            try:
                self._add(row)
            except _UnusableError as error:
                self.notes.count(UNUSABLE.format(kind="annotations"), example=entry("annotations", row, error))
        self._is_coco = self._locate(box_format, likely, about) == "xywh"

    def records(self, place: Callable[[str], tuple[str, str] | None]) -> Iterator[ImageRecord]:
        """The images with their clipped boxes, and the label that these give.

        Args:
            place: Function from an image's name in the file to its uri and its path below the root; None for an image
                that is left out.
        """
        for key, image in self.listed.images.items():
            where = place(image["file_name"])
            if where is None:
                continue
            uri, file_name = where
            width, height = self.sizes[key]
            objects = [one for one in self._objects[key] if not one.crowd]
            given = np.array([one.edges for one in objects])
            boxes, kept = clip_boxes(given, width, height)
            labels = np.array([one.label for one in objects], dtype=np.int32)[kept]
            masks = tuple(one.mask for one, keep in zip(objects, kept, strict=True) if keep)
            tags = self._tags.get(key, [])
            self.notes.count(_DROPPED, len(objects) - len(boxes))
            self.notes.count(_CLIPPED, count_clipped(given[kept], boxes) if len(boxes) else 0)
            self.notes.count(_SEVERAL, len(set(labels.tolist())) > 1)
            self.notes.count(_WITHOUT, not len(labels) and not tags)
            self.notes.count(_SEVERAL_TAGS, not len(labels) and len(set(tags)) > 1)
            label = main_class(boxes, labels) if len(labels) or not tags else int(np.bincount(tags).argmax())
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
                labels=tuple(sorted({*tags})),
            )

    def dataset(self) -> dict[str, Any]:
        """The file as COCO defines it: whole numbers as ids, boxes in pixels, without what cannot be used."""
        annotations = []
        for image, objects in self._objects.items():
            for one in objects:
                x0, y0, x1, y1 = one.edges
                bbox = one.values if one.values and self._is_coco else [x0, y0, x1 - x0, y1 - y0]
                box = {"bbox": bbox, "category_id": self.listed.categories[one.label]}
                area = number(one.row.get("area"))
                known = {} if area is None else {"area": area}
                crowd = {"iscrowd": int(flag(one.row.get("iscrowd")))}
                annotations.append({"id": one.row.get("id"), "image_id": image} | box | known | crowd)
        categories = zip(self.listed.categories, self.listed.classes, strict=True)
        return {
            "images": [{"id": key} for key in self.listed.images],
            "categories": [{"id": key, "name": info.name} for key, info in categories],
            "annotations": annotations,
        }

    def _size(self, image: Row) -> tuple[int, int]:
        """Size (width, height) in pixels; 0 where the file does not give it."""
        sides = []
        for key in ("width", "height"):
            value = number(image.get(key, 0))
            if value is None or value < 0 or value % 1:
                what = "images have a size that is not a number of pixels: it is read from the image"
                self.notes.count(what, example=entry("images", image, f"{key} {image[key]!r}"))
                return 0, 0
            sides.append(int(value))
        return sides[0], sides[1]

    def _add(self, row: Row) -> None:
        """Add an annotation to its image."""
        for key in ("image_id", "category_id"):
            if key not in row:
                raise _UnusableError(f"{key!r} is missing")
        image = find(self.listed.image_number, row["image_id"])
        label = find(self.listed.category_index, row["category_id"])
        if image is None or label is None:
            key = "image_id" if image is None else "category_id"
            raise _UnusableError(f"{key} {row[key]!r} is not in the file")
        box, crowd = row.get("bbox"), flag(row.get("iscrowd")) or flag(row.get("ignore"))
        boxless = box is None or box == []
        values = [] if boxless else numbers(box)
        if values is None:
            raise _UnusableError(f"bbox {box!r} is not four finite numbers x, y, w, h")
        if crowd:
            self.notes.count(_CROWD)
        mask = b"" if crowd and not boxless else self._mask(row, image)
        if boxless and not mask:
            if not crowd:
                self.notes.count(_TAGS)
                self._tags.setdefault(image, []).append(label)
            return
        found = _Object(row, label, crowd, values, mask)
        if boxless:
            self.notes.count(_OUTLINED)
            found.edges = run_lengths.extent(mask, *self.sizes[image])
        self._objects[image].append(found)

    def _locate(self, box_format: BoxFormat, likely: BoxFormat, about: str) -> BoxFormat:
        """Turn the numbers of all boxes into pixel edges; returns their convention."""
        found = [(one, self.sizes[key]) for key, own in self._objects.items() for one in own if one.values]
        values = np.array([one.values for one, _ in found], np.float64).reshape(-1, 4)
        sizes = np.array([size for _, size in found], np.float64).reshape(-1, 2)
        chosen = choose(box_format, likely, values, sizes, self._name, about)
        for (one, size), pixels in zip(found, edges(values, sizes, chosen).tolist(), strict=True):
            one.edges = pixels
            if 0 in size and is_relative(chosen):
                self.notes.count(_UNSCALED)
        return chosen

    def _mask(self, row: Row, image: int) -> bytes:
        """An annotation's mask as run lengths, empty where it has none that can be used."""
        if run_lengths.is_empty(row.get("segmentation")):
            return b""
        width, height = self.sizes[image]
        if not (width and height):
            self.notes.count(_UNSIZED)
            return b""
        try:
            return run_lengths.encode_segmentation(row["segmentation"], width, height)
        except ValueError as error:
            what = "masks left out: they cannot be used"
            self.notes.count(what, example=entry("annotations", row, error))
            return b""

    def _ignored(self, image: int, label: int) -> bytes | None:
        """The union of the regions that are not scored for a class: their masks, or else their boxes."""
        regions = [one for one in self._objects[image] if one.crowd and one.label == label]
        if not regions:
            return None
        width, height = self.sizes[image]
        union = np.zeros((height, width), bool)
        for one in regions:
            mask = one.mask or self._mask(one.row, image)
            if mask:
                union |= run_lengths.decode([mask], width, height)
            else:
                x0, y0, x1, y1 = np.clip(np.round(one.edges), 0, [width, height] * 2).astype(int)
                union[y0:y1, x0:x1] = True
        return run_lengths.encode(union)
