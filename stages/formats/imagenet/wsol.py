"""The text files of clovaai/wsolevaluation: ``val/NAME.JPEG`` and then numbers, comma-separated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from stages.classes import imagenet_classes
from stages.errors import DataError
from stages.formats.delimited import text_of
from stages.formats.imagenet.row import Row, number, stem_of, whole
from stages.formats.source import Notes
from stages.ingest.paths import basename

Values = dict[str, list[list[float]]]
"""The numbers of each of an image's lines, by its name."""


def read_wsol(folder: str, files: dict[str, str], notes: Notes) -> Iterator[tuple[str, Row]]:
    """Annotations with the stem of their image.

    Several lines of an image are its boxes in ``localization.txt``; elsewhere the first one decides.

    Args:
        folder: The folder, for messages.
        files: Uri of each of its files by its name without ``.gz``.
        notes: Findings, which count lines that cannot be read, contradict another or are repeated.

    Raises:
        DataError: A file is missing.
    """
    tables: dict[str, Values] = {}
    forms: tuple[tuple[str, int, Callable[[str], float]], ...] = (
        ("image_ids", 0, whole),
        ("class_labels", 1, whole),
        ("image_sizes", 2, whole),
        ("localization", 4, number),
    )
    for name, count, convert in forms:
        if f"{name}.txt" not in files:
            raise DataError(f"{folder} has image_ids.txt but no {name}.txt; add it")
        tables[name] = _lines(files[f"{name}.txt"], count, convert, notes)
    labels, sizes, boxes = (basename(files[f"{name}.txt"]) for name, _, _ in forms[1:])
    for image in tables["image_ids"]:
        label = int(_first(image, tables["class_labels"].get(image, [[-1]]), labels, notes)[0])
        if not -1 <= label < len(imagenet_classes()):
            what = f"images of {labels} have a class outside 0 to 999: they have no label"
            notes.count(what, example=f"{image} with {label}")
            label = -1
        width, height = map(int, _first(image, tables["image_sizes"].get(image, [[0, 0]]), sizes, notes))
        edges = _once(image, tables["localization"].get(image, []), boxes, notes)
        yield stem_of(image), Row(label, [(label, box) for box in edges], width, height)


def _lines(uri: str, count: int, convert: Callable[[str], float], notes: Notes) -> Values:
    table: Values = {}
    for position, line in enumerate(text_of(uri, notes).splitlines(), start=1):
        image, *words = line.split(",")
        try:
            values = [convert(word) for word in words]
        except ValueError:
            values = []
        if len(words) != count or len(values) != count:
            what = f"lines of {basename(uri)} lack {count} integers after the name: left out"
            notes.count(what, example=f"line {position}")
            continue
        table.setdefault(image.strip(), []).append(values)
    return table


def _first(image: str, lines: list[list[float]], file: str, notes: Notes) -> list[float]:
    if any(line != lines[0] for line in lines):
        notes.count(f"images have lines in {file} that contradict each other: the first is used", example=image)
    return lines[0]


def _once(image: str, lines: list[list[float]], file: str, notes: Notes) -> list[list[float]]:
    """Boxes of an image, which are all repeated where a file was appended to itself.

    The published file repeats a few lines of images that have others too: those stay.
    """
    times = Counter(map(tuple, lines))
    if not lines or min(times.values()) == 1:
        return lines
    notes.count(f"images have every line in {file} more than once: each counts once", example=image)
    return [list(line) for line in times]
