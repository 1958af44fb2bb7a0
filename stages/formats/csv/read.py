"""Reader of a table of images with their labels, or of boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.errors import DataError
from stages.formats.csv import Options
from stages.formats.csv.places import Place, find_table, rows_of
from stages.formats.csv.rows import Seen, gather
from stages.formats.delimited import text_of
from stages.formats.folder import class_info
from stages.formats.labels import main_class
from stages.formats.numbers import whole
from stages.formats.origin import SHIFTS
from stages.formats.source import Notes, Source
from stages.formats.tables import in_order
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.header import Header
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.sizes import headers_of

_ROUNDING = 0.02
"""Share of a side by which relative boxes may leave their images."""
_MOST_CLASSES = 100_000
"""Most classes of a table that only numbers them: a mistyped number would make as many."""


def read(root: str, options: Options) -> Source:
    """Read a table in CSV, TSV or JSON lines, whose first line names the columns, and the images below its folder.

    A row is a label of an image, or a box; images may have several rows, and cells several labels. The columns are
    found by their names in any order, the images by theirs, with or without folders and extension. Classes are those
    of ``classes.txt`` beside the table, then the other labels: numbers by value, anything else in bytewise order. The
    label of an image is the class with most area; where it has no boxes, the first.

    Args:
        root: Local path or uri of the folder, or of the table.
        options: The part to read, what its boxes are, and what its labels are.

    Raises:
        ConfigurationError: There is no such part.
        DataError: There is no table, or it names no images.
    """
    notes = Notes()
    place, by_name = find_table(root, options.split, notes)
    columns = place.columns
    if not any(place.table.header) and columns.label is None:
        raise DataError(f"{place.name}: its first line must name the columns, such as file_name,label", about="root")
    seen = gather(place.name, rows_of(place, options.split, by_name, notes), columns, place.images, notes)
    if not seen:
        raise DataError(f"{place.name}: no row of this part names an image that is under {place.root}", about="root")
    left = sum(name not in seen for name in place.images.names)
    notes.count(f"images are not in {place.name}, or not in this part of it: left out", left)
    if columns.label is None:
        notes.say(f"{place.name} gives no labels: no column is called label or class")
    listed = _listed(place, notes)
    if options.labels == "index":
        _name_numbers(seen, listed, notes)
    named = [name for one in seen.values() for name in (*(label for label, _ in one.boxes), *one.tags)]
    names = listed + in_order(set(named) - set(listed))
    origin = _origin(seen, options, notes)
    return Source([class_info(name) for name in names], _records(place, seen, names, origin, notes), notes)


def _records(place: Place, seen: dict[str, Seen], names: list[str], origin: str, notes: Notes) -> Iterator[ImageRecord]:
    index = {name: at for at, name in enumerate(names)}
    unsized = [join(place.root, name) for name, one in seen.items() if one.boxes and not all(one.size)]
    headers = dict(zip(unsized, headers_of(unsized), strict=True)) if origin == "relative" else {}
    numbers = [one.number for one in seen.values()]
    numbered = all(numbers) and len(set(numbers)) == len(numbers)
    for rank, (name, one) in enumerate(seen.items(), start=1):
        uri = join(place.root, name)
        header = headers.get(uri)
        width, height = header.displayed if isinstance(header, Header) else one.size
        edges = _edges([numbers for _, numbers in one.boxes], place.columns.sized, origin, width, height)
        if len(edges) and origin == "relative" and not (width and height):
            notes.count("images cannot be read, so that their relative boxes have no size: left out", example=name)
            edges = np.full_like(edges, 0)
        boxes, kept = clip_boxes(edges, width, height)
        notes.count("boxes dropped: empty, inverted or outside their image", len(kept) - len(boxes))
        notes.count("boxes clipped: they end outside their image", count_clipped(edges[kept], boxes))
        owners = np.array([index[label] for label, _ in one.boxes], np.int32)[kept]
        notes.count("images have boxes of several classes: the one with most area is the label", len(set(owners)) > 1)
        tags = tuple(index[label] for label in one.tags)
        label = main_class(boxes, owners)
        label = label if label >= 0 else tags[0] if tags else -1
        notes.count("images have no label", place.columns.label is not None and label < 0)
        yield ImageRecord(
            image_id=one.number if numbered else rank,
            uri=uri,
            file_name=name.removeprefix(place.folder),
            label=label,
            width=width,
            height=height,
            boxes=boxes,
            box_labels=owners,
            labels=tags,
        )


def _origin(seen: dict[str, Seen], options: Options, notes: Notes) -> str:
    """What the numbers of boxes are, by those of all boxes where the user does not say."""
    if options.origin != "auto":
        return options.origin
    values = np.array([numbers for one in seen.values() for _, numbers in one.boxes], np.float64).reshape(-1, 4)
    if not len(values):
        return "edges"
    if values.max() <= 1 + _ROUNDING:
        notes.say("boxes are read as shares of their images, since no number is above 1; data.origin says otherwise")
        return "relative"
    first = values[:, :2]
    hint = " (none begins at 0 and some at 1, as where pixels are counted from 1: data.origin=one)"
    notes.say(
        "boxes are read as half-open pixel edges counted from 0; data.origin says otherwise"
        f"{hint if first.min() == 1 else ''}"
    )
    return "edges"


def _edges(values: list[tuple[float, ...]], sized: bool, origin: str, width: int, height: int) -> np.ndarray:
    """Boxes as (n, 4) float32 half-open edges, not clipped.

    >>> _edges([(1, 1, 4, 2)], False, "one", 0, 0).tolist(), _edges([(1, 1, 4, 2)], True, "one", 0, 0).tolist()
    ([[0.0, 0.0, 4.0, 2.0]], [[0.0, 0.0, 4.0, 2.0]])
    """
    found = np.array(values, np.float64).reshape(-1, 4)
    if origin == "relative":
        found = found * [width, height, width, height]
    elif not sized or origin == "one":
        found = found + SHIFTS[origin]
    if sized:
        found = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    return found.astype(np.float32)


def _listed(place: Place, notes: Notes) -> list[str]:
    """The classes of ``classes.txt`` beside the table."""
    folder, mark, _ = place.name.rpartition("/")
    name = f"{folder}{mark}classes.txt"
    lines = text_of(join(place.root, name), notes).splitlines() if name in place.files else []
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _name_numbers(seen: dict[str, Seen], listed: list[str], notes: Notes) -> None:
    """Replace labels that are numbers by the names of their classes; without a list every number stands for itself."""

    def name_of(label: str) -> str | None:
        try:
            at = whole(label)
        except ValueError:
            at = -1
        known = 0 <= at < (len(listed) or _MOST_CLASSES)
        notes.count("labels are no numbers of a class: left out", not known, example="" if known else label)
        return (listed[at] if listed else str(at)) if known else None

    for one in seen.values():
        boxes = [(name_of(label), numbers) for label, numbers in one.boxes]
        one.boxes = {(name, numbers): None for name, numbers in boxes if name is not None}
        one.tags = {name: None for label in one.tags if (name := name_of(label)) is not None}
    if not listed:
        most = max((int(name) for one in seen.values() for name in (*one.tags, *(n for n, _ in one.boxes))), default=-1)
        listed.extend(str(at) for at in range(most + 1))
