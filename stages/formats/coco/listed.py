"""The images and categories that an annotation file lists, under whole numbers whatever their ids are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.coco.entries import Key, Row, id_key, numbered
from stages.formats.source import Notes
from stages.printable import is_storable

UNUSABLE = "{kind} left out: their entries cannot be used"
_RENAMED = "categories share their names with others: their wnid is added to it"
_RENAMED_BY_ID = "categories share their names with others and have no wnid of their own: their id is added to it"
_TWICE = "images left out: another one has the same id"
_SHARED = "images have the file of another one: each has its own annotations only"
_TEXT_IDS = "image ids are not whole numbers: these images are numbered after the others"
_NO_CATEGORIES = "the file lists no categories: those of its annotations are the classes"
_NO_ANNOTATIONS = "the file has no annotations"


@dataclass(frozen=True)
class Listed:
    """Contents of an annotation file, looked up by id.

    Attributes:
        images: Entry of each image that can be used, by its number.
        image_number: Number of each image, by its id: the id itself where it is a whole number.
        categories: Number of each category, ascending.
        category_index: Class index of each category, by its id.
        classes: The categories in order of their numbers.
        annotations: Entries of the annotations, not checked.
    """

    images: dict[int, Row]
    image_number: dict[Key, int]
    categories: list[int]
    category_index: dict[Key, int]
    classes: list[ClassInfo]
    annotations: list[Row]


def listed(name: str, content: Any, notes: Notes) -> Listed:
    """Look up the images and categories of an annotation file.

    Args:
        name: Name of the file, for messages.
        content: The parsed file.
        notes: Gets the findings.

    Raises:
        DataError: There is no list of images, none can be used, or the categories cannot be told apart.
    """
    if not isinstance(content, dict):
        raise DataError(f"{name}: a COCO dataset is an object with images, annotations and categories")
    for what in (_RENAMED, _RENAMED_BY_ID):
        notes.count(what, 0)
    images = _rows(name, content, "images", notes)
    annotations, categories = (
        [] if content.get(key) is None else _rows(name, content, key, notes) for key in ("annotations", "categories")
    )
    if not annotations:
        notes.say(_NO_ANNOTATIONS)
    if not categories and annotations:
        notes.say(_NO_CATEGORIES)
        keys = dict.fromkeys(id_key(row.get("category_id")) for row in annotations)
        categories = [{"id": key, "name": str(key)} for key in keys if key is not None]
    by_key = _categories(name, categories)
    places = numbered(by_key)
    ordered = sorted(by_key, key=lambda key: places[key])
    usable = _images(images, notes)
    if not usable:
        why = f": {'; '.join(lines)}" if (lines := notes.lines()) else ""
        raise DataError(f"{name}: it lists no images that can be used{why}")
    image_number = numbered(usable)
    notes.count(_TEXT_IDS, sum(isinstance(key, str) for key in usable), example=_text(usable))
    return Listed(
        {image_number[key]: row for key, row in usable.items()},
        image_number,
        [places[key] for key in ordered],
        {key: index for index, key in enumerate(ordered)},
        _classes([by_key[key] for key in ordered], notes),
        annotations,
    )


def entry(kind: str, row: Row, what: object) -> str:
    """An entry and what is wrong with it, for messages."""
    return f"{kind} entry with id {row.get('id')!r}: {what}"


def _rows(name: str, content: Row, kind: str, notes: Notes) -> list[Row]:
    rows = content.get(kind)
    if not isinstance(rows, list):
        raise DataError(f"{name}: {kind!r} is missing or is not a list of objects")
    kept = [row for row in rows if isinstance(row, dict)]
    if len(kept) < len(rows):
        odd = next(row for row in rows if not isinstance(row, dict))
        notes.count(UNUSABLE.format(kind=kind), len(rows) - len(kept), example=f"{str(odd)[:50]!r} is not an object")
    return kept


def _images(rows: list[Row], notes: Notes) -> dict[Key, Row]:
    """The images that have an id and a name; of several with one id, the first."""
    found: dict[Key, Row] = {}
    names: set[str] = set()
    for row in rows:
        key, file_name = id_key(row.get("id")), row.get("file_name", row.get("coco_url"))  # LVIS has the latter
        if key is None:
            problem = "the id is not a number or text" if "id" in row else "'id' is missing"
        elif not isinstance(file_name, str) or not file_name.strip() or not is_storable(file_name):
            problem = f"file_name {file_name!r} is not a path" if "file_name" in row else "'file_name' is missing"
        elif key in found:
            notes.count(_TWICE, example=entry("images", row, file_name))
            continue
        else:
            found[key] = row if "file_name" in row else row | {"file_name": file_name}
            notes.count(_SHARED, file_name in names, example=file_name)
            names.add(file_name)
            continue
        notes.count(UNUSABLE.format(kind="images"), example=entry("images", row, problem))
    return found


def _categories(name: str, rows: list[Row]) -> dict[Key, Row]:
    """All categories: a class that is left out would change the index of every class after it."""
    found: dict[Key, Row] = {}
    for row in rows:
        key = id_key(row.get("id"))
        if key is None:
            problem = "the id is not a number or text" if "id" in row else "'id' is missing"
            raise DataError(f"{name}: {entry('categories', row, problem)}")
        if found.setdefault(key, row).get("name") != row.get("name"):
            raise DataError(f"{name}: {entry('categories', row, 'the id is used twice')}")
    return found


def _classes(categories: list[Row], notes: Notes) -> list[ClassInfo]:
    """Classes with unique names: categories that share one are told apart by their wnids, or else their ids."""
    rows = [(str(row["id"] if row.get("name") is None else row["name"]), row.get("wnid")) for row in categories]
    names, pairs = Counter(name for name, _ in rows), Counter(rows)
    classes = []
    for (name, wnid), row in zip(rows, categories, strict=True):
        by_wnid = bool(wnid) and pairs[name, wnid] == 1
        if names[name] > 1:
            notes.count(_RENAMED if by_wnid else _RENAMED_BY_ID, example="" if by_wnid else name)
        classes.append(ClassInfo(f"{name} ({wnid if by_wnid else row['id']})" if names[name] > 1 else name, wnid))
    return classes


def _text(keys: dict[Key, Row]) -> str:
    return next((repr(key) for key in keys if isinstance(key, str)), "")
