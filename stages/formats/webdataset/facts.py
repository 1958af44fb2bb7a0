"""What the members beside an image say: labels and boxes in JSON, a class in a line of text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from stages.formats.coco.entries import number
from stages.formats.samples import Label, label_of, objects_of
from stages.formats.source import Notes
from stages.ingest.tar import Member

_LABELS = ("label", "labels", "class", "classes", "cls", "category", "class_id", "class_name", "label_name", "target")
_OWNERS = ("category", "category_id", "categories", "labels", "label", "classes", "class", "class_id", "name")
_BOXES = ("boxes", "bboxes", "bbox")
_OBJECTS = ("objects", "annotations", "object")
_CAPTION_WORDS = 3


@dataclass(slots=True)
class Facts:
    """What is said about an image.

    Attributes:
        labels: Its classes.
        line: Text of its ``.txt``, which may be a class or a caption.
        file_name: Its name, where it is said.
        size: Width and height in pixels; 0 where they are not stated.
        boxes: Numbers of each box.
        owners: Class of each box, where it is said.
        edges: Whether the boxes are called ``boxes``, and so are edges.
    """

    labels: list[Label] = field(default_factory=list)
    line: str = ""
    file_name: str = ""
    size: tuple[int, int] = (0, 0)
    boxes: list[list[float]] = field(default_factory=list)
    owners: list[Label | None] = field(default_factory=list)
    edges: bool = False


def facts_of(members: dict[str, Member], notes: Notes) -> Facts:
    """Read the members of a sample.

    Args:
        members: Those that say something, by extension. The class of ``.cls`` goes before that of ``.json``.
        notes: Told of what cannot be read or contradicts.
    """
    found = Facts()
    for extension, member in members.items():
        if member.content is None:
            notes.count("members have more bytes than any text about an image: left out", example=member.name)
        elif extension == ".json":
            _add_json(found, member, notes)
        elif extension == ".txt":
            found.line = member.content.decode("utf-8-sig", "replace").strip()
    cls = members.get(".cls")
    if cls is not None and cls.content is not None:
        lines = cls.content.decode("utf-8-sig", "replace").splitlines()
        labels = [label for line in lines if (label := _class(line)) is not None]
        alike = [one for one in found.labels if labels and type(one) is type(labels[0])]  # One may say its name.
        differs = bool(alike) and labels[0] not in alike
        notes.count("samples have another class in .json than in .cls, which decides", differs, example=cls.name)
        notes.count("members say no class", not labels, example=cls.name)
        if labels:
            found.labels = labels if differs else list(dict.fromkeys([*labels, *alike]))
    return found


def are_classes(lines: set[str], count: int) -> bool:
    """Whether lines of text are classes and not captions: short, or each that of several images.

    Args:
        lines: The distinct lines.
        count: Number of images that have one.
    """
    words = max((len(line.split()) for line in lines), default=0)
    return not any("\n" in line for line in lines) and (words <= _CAPTION_WORDS or 2 * len(lines) <= count)


def _add_json(found: Facts, member: Member, notes: Notes) -> None:
    try:
        entry = json.loads(member.content or b"")
    except (ValueError, RecursionError):
        notes.count("JSON members cannot be read: their images have nothing from them", example=member.name)
        return
    if not isinstance(entry, dict):
        entry = {"labels": entry}
    place = next((entry[key] for key in _OBJECTS if isinstance(entry.get(key), dict | list)), None)
    if isinstance(place, list):  # one entry an object
        rows = [one for one in place if isinstance(one, dict)]
        keys = [_first_key(row, _BOXES) for row in rows]
        boxes: Any = [row.get(key) for row, key in zip(rows, keys, strict=True) if key]
        owners: Any = [row.get(_first_key(row, _OWNERS)) for row, key in zip(rows, keys, strict=True) if key]
        key = next(filter(None, keys), "")
    else:
        place = entry if place is None else place
        key = _first_key(place, _BOXES)
        boxes, owners = place.get(key), place.get(_first_key(place, _OWNERS))
        if not isinstance(owners, list):
            owners = None  # It is that of the image.
    found.boxes, found.owners = objects_of(boxes, _parallel(owners, boxes), notes, member.name)
    found.edges = key == "boxes"
    given = entry.get(_first_key(entry, _LABELS))
    labels = [label_of(one) for one in (given if isinstance(given, list) else [given])]
    found.labels = list(dict.fromkeys(one for one in labels if one is not None))
    name = entry.get("file_name", entry.get("filename"))
    found.file_name = name if isinstance(name, str) else ""
    width, height = (number(entry.get(key)) or 0.0 for key in ("width", "height"))
    found.size = (int(width), int(height)) if width > 0 < height and not (width % 1 or height % 1) else (0, 0)


def _parallel(owners: Any, boxes: Any) -> Any:
    """The classes of boxes; labels of another number are those of the image."""
    return owners if isinstance(owners, list) and isinstance(boxes, list) and len(owners) == len(boxes) else None


def _first_key(entry: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((key for key in keys if entry.get(key) is not None), "")


def _class(text: str) -> Label | None:
    """A class in a line: a number is its index."""
    label = label_of(text)
    return int(label) if isinstance(label, str) and label.removeprefix("-").isdecimal() and len(label) < 19 else label
