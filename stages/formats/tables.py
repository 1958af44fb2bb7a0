"""Labels of images from a table beside them: CSV, TSV or JSON lines, as Kaggle and Hugging Face lay them out."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from stages.formats.delimited import dialect_of, text_of
from stages.formats.label_cells import holds_several, labels_in
from stages.formats.source import Notes
from stages.ingest.image_formats import EXTENSIONS
from stages.ingest.paths import basename

SUFFIXES = (".csv", ".tsv", ".jsonl")
"""Extensions of tables."""

# Headers of labels, the best first, in lower case and without separators; then words in other headers.
_HEADERS = ("labelname", "classname", "categoryname", "label", "class", "category", "labels", "target", "y")
_WORDS = ("label", "class", "category", "species", "breed", "diagnosis")
_IMAGES = ("file", "image", "img", "name", "path", "photo", "picture")
# Headers of what is said about an image alone.
_TEXTS = ("text", "caption", "captions", "prompt", "description", "url", "split", "width", "height")
_TRIED = 1000


@dataclass(frozen=True)
class Labels:
    """What a table says.

    Attributes:
        of: Labels by the name of the image, each once; none where its rows give it none.
        column: The column of the labels, for messages; empty where the table has no labels.
        notes: Findings about rows.
    """

    of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    column: str = ""
    notes: Notes = field(default_factory=Notes)


class ImageNames:
    """Images by whatever a table may call them: with or without extension or folders.

    Args:
        names: Relative names of the images.
        places: The folders that hold those in question, as prefixes.
    """

    def __init__(self, names: list[str], places: Sequence[str] = ()) -> None:
        self.names = names
        self._exact: dict[str, str | None] = {}
        self._ends: dict[str, str | None] = {}
        for name in names:
            normal = _normal(name)
            for text in {normal, *(normal.removeprefix(place) for place in places)}:
                _add(self._exact, text, name)
            parts = normal.split("/")
            for start in range(len(parts)):
                _add(self._ends, "/".join(parts[start:]), name)

    def find(self, cell: str) -> str | None:
        """The only image that a cell names; None where it is none, or one of several."""
        return self._find(_normal(cell)) or ("%" in cell and self._find(_normal(unquote(cell)))) or None

    def _find(self, text: str) -> str | None:
        for key in (text, _stem(text)):
            if found := self._exact.get(key) or self._ends.get(key):
                return found
        if not text.startswith("/") and ":" not in text:
            return None
        parts = text.split("/")  # where it was on another machine
        return next(filter(None, (self._ends.get("/".join(parts[at:])) for at in range(1, len(parts)))), None)


class Table(NamedTuple):
    """A table.

    Attributes:
        header: Names of the columns; empty ones where it has no header.
        rows: The cells of each row, which may be fewer or more.
    """

    header: list[str]
    rows: list[list[str]]


def read_labels(uri: str, images: ImageNames) -> Labels:
    """Read a table.

    The images are in a column that names them, the labels in the one whose header says so, or in the only other
    one. A table without a header has no other columns.

    Args:
        uri: Path or uri of the table.
        images: The images that it may name.

    Returns:
        The labels; those of no image where the table is about something else.
    """
    name, notes = basename(uri), Notes()
    table = read_table(uri, images, notes, lists=True)
    place = image_column(table, images)
    if place is None:
        return Labels(notes=notes)
    label = label_column(table.header, place)
    if label is None:
        listed = ", ".join(header or "?" for header in table.header[:5])
        notes.say(f"{name} gives no labels: none of its columns ({listed}) is called label or class")
    several = label is not None and holds_several(table.header[label])
    pairs: list[tuple[str, list[str]]] = []
    for row in table.rows:
        found = images.find(cell_of(row, place))
        if found is None:
            notes.count(f"rows of {name} name none of these images, or several", example=cell_of(row, place))
        else:
            pairs.append((found, [] if label is None else labels_in(cell_of(row, label), several)))
    column = "" if label is None else f"column {repr(table.header[label]) if table.header[label] else label + 1}"
    return Labels(merged(pairs, name, notes), column, notes)


def merged(pairs: Iterable[tuple[str, Sequence[str]]], name: str, notes: Notes) -> dict[str, tuple[str, ...]]:
    """The distinct labels by image, in the order of their rows.

    Args:
        pairs: Images with the labels of a row.
        name: Name of the table, for notes.
        notes: Receives the repetitions.
    """
    found: dict[str, tuple[str, ...]] = {}
    for image, labels in pairs:
        if image in found:
            other = bool(labels and found[image] and set(labels) - set(found[image]))
            what = "with two labels: the first is theirs" if other else "twice: they count once"
            notes.count(f"images are in {name} {what}", example=image)
        found[image] = tuple(dict.fromkeys((*found.get(image, ()), *labels)))
    return found


def in_order(labels: Iterable[str]) -> list[str]:
    """The distinct labels: numbers by value, anything else in bytewise order.

    >>> in_order(["10", "9", "", "9"]), in_order(["b", "9", "10"])
    (['9', '10'], ['10', '9', 'b'])
    """
    distinct = set(labels) - {""}
    if all(label.isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct, key=lambda label: label.encode("utf-8", "surrogateescape"))


def image_column(table: Table, images: ImageNames) -> int | None:
    """The column that names images, None where there is none; of a large table, a sample of the rows shows it."""
    some = table.rows[:: max(1, len(table.rows) // _TRIED)]
    place = _image_column(table.header, some, images)
    return _image_column(table.header, table.rows, images) if place is None else place


def _image_column(header: list[str], rows: list[list[str]], images: ImageNames) -> int | None:
    """The column that names images: with extensions rather than without, under a fitting header, in most rows.

    Where images are called 1.png, 2.png and so on, numbers of rows or classes name images too.
    """
    found = {at: [cell for row in rows if images.find(cell := cell_of(row, at))] for at in range(len(header))}
    most = max(map(len, found.values()), default=0)
    likely = [at for at, cells in found.items() if cells and len(cells) * 2 >= most]

    def worth(at: int) -> tuple[int, bool, bool, int]:
        plain = header[at].lower()
        fits = plain.endswith("id") or any(word in plain for word in _IMAGES)
        return sum(map(_is_image, found[at])), label_rank(header[at]) is None, fits, len(found[at])

    return max(likely, key=worth, default=None)


def label_column(header: list[str], place: int) -> int | None:
    """The column of labels in a table whose images are in column ``place``; None where no header is like one."""
    others = [at for at in range(len(header)) if at != place]
    named = sorted((rank, at) for at in others if (rank := label_rank(header[at])) is not None)
    if not named and len(others) == 1 and header[others[0]].lower() not in _TEXTS:
        return others[0]
    return named[0][1] if named else None


def label_rank(header: str) -> int | None:
    """Place of a header among those of labels, from the best; None where it is not like any.

    >>> label_rank("Class Name"), label_rank("coarse_label"), label_rank("width")
    (1, 9, None)
    """
    plain = re.sub(r"[\W_]", "", header).lower()
    if plain in _HEADERS:
        return _HEADERS.index(plain)
    return next((len(_HEADERS) + at for at, word in enumerate(_WORDS) if word in plain), None)


def read_table(uri: str, images: ImageNames, notes: Notes, lists: bool = False) -> Table:
    """The rows of a table: CSV, TSV or JSON lines, whose first line is no header where it names one of the images.

    Args:
        uri: Path or uri of the table.
        images: The images that it may name.
        notes: Told what cannot be read.
        lists: Whether lists in JSON lines become cells, as JSON; otherwise they are left out.
    """
    name, text = basename(uri), text_of(uri, notes)
    if name.lower().endswith(".jsonl"):
        return _json_rows(text, name, notes, lists)
    text, dialect = dialect_of(text)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), **dialect)
        rows = [row for row in lines if any(row)]
    except csv.Error as error:
        notes.say(f"{name} cannot be read: {error}")
        rows = []
    if not rows:
        return Table([], [])
    header = [cell.strip() for cell in rows[0]]
    named = any(_is_image(cell) or images.find(cell) for cell in header)
    if named and all(label_rank(cell) is None for cell in header):
        return Table([""] * len(header), rows)
    return Table(header, rows[1:])


def _json_rows(text: str, name: str, notes: Notes, lists: bool) -> Table:
    entries = []
    for line in filter(str.strip, text.split("\n")):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict):
            kept = {key: str(value) for key, value in entry.items() if isinstance(value, str | int | float)}
            long = {key: json.dumps(value) for key, value in entry.items() if lists and isinstance(value, list)}
            entries.append(kept | long)
        else:
            notes.count(f"lines of {name} are not JSON objects: left out", example=line[:60])
    header = list(dict.fromkeys(key for entry in entries for key in entry))
    return Table(header, [[entry.get(key, "") for key in header] for entry in entries])


def cell_of(row: list[str], at: int) -> str:
    """A cell, empty where the row is shorter."""
    return row[at].strip() if at < len(row) else ""


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")


def _is_image(cell: str) -> bool:
    return PurePosixPath(cell.strip()).suffix.lower() in EXTENSIONS


def _stem(name: str) -> str:
    """A name without the extension of an image."""
    return name[: -len(PurePosixPath(name).suffix)] if _is_image(name) else name


def _add(found: dict[str, str | None], text: str, name: str) -> None:
    """Enter an image with and without extension; None stands for several."""
    for key in {text, _stem(text)}:
        found[key] = name if found.get(key, name) == name else None
