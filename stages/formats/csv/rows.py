"""What the rows of a table say about each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stages.formats.csv.columns import Columns
from stages.formats.label_cells import labels_in
from stages.formats.numbers import number, whole
from stages.formats.source import Notes
from stages.formats.tables import ImageNames, cell_of

_TRUE = ("1", "1.0", "true", "yes")


@dataclass
class Seen:
    """An image and what its rows say.

    Attributes:
        cell: How the table calls it.
        number: Its number in the table; 0 where it has none.
        size: Width and height in pixels; 0 where they are not said.
        boxes: Class and four numbers of each box, each once.
        tags: Classes of rows without a box, each once.
    """

    cell: str
    number: int = 0
    size: tuple[int, int] = (0, 0)
    boxes: dict[tuple[str, tuple[float, ...]], None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)


def gather(name: str, rows: Iterable[list[str]], columns: Columns, images: ImageNames, notes: Notes) -> dict[str, Seen]:
    """What rows say, by the name of the image, in the order of their first rows.

    Args:
        name: Name of the table, for notes.
        rows: Its rows.
        columns: Its columns.
        images: The images that it may name.
        notes: Told what is left out.
    """
    found: dict[str, Seen] = {}
    for row in rows:
        cell = cell_of(row, columns.image)
        image = images.find(cell)
        if image is None:
            notes.count(f"rows of {name} name none of these images, or several: left out", example=cell)
            continue
        seen = found.setdefault(image, Seen(cell))
        _add_facts(seen, row, columns, notes)
        labels = labels_in(cell_of(row, columns.label), columns.several) if columns.label is not None else []
        numbers = [cell_of(row, at) for at in columns.box or ()]
        if not any(numbers):
            absent = columns.confidence is not None and _is_zero(cell_of(row, columns.confidence))
            notes.count("labels have confidence 0, so that their class is not there: left out", len(labels) * absent)
            notes.count("rows are repeated: they count once", any(one in seen.tags for one in labels))
            seen.tags.update(dict.fromkeys([] if absent else labels))
            continue
        try:
            box = tuple(number(one.replace(",", ".")) for one in numbers)
        except ValueError:
            notes.count("boxes are not four numbers: left out", example=f"{cell}: {', '.join(numbers)}")
            continue
        if not labels:
            notes.count("boxes have no label: left out", example=cell)
        elif any(cell_of(row, at).lower() in _TRUE for at in columns.ignored):
            notes.count("boxes are of groups or difficult, neither found nor missed: left out")
        else:
            notes.count("rows are repeated: they count once", (labels[0], box) in seen.boxes)
            seen.boxes.update(dict.fromkeys((label, box) for label in labels))
    return found


def _add_facts(seen: Seen, row: list[str], columns: Columns, notes: Notes) -> None:
    """Add size and number of the image; where rows differ, the first decides."""
    if columns.size is not None:
        width, height = (max(_whole(cell_of(row, at)), 0) for at in columns.size)
        size = (width, height) if width and height else (0, 0)
        notes.count(
            "rows give their image another size than the first: left out",
            size not in (seen.size, (0, 0)) and any(seen.size),
        )
        seen.size = seen.size if any(seen.size) else size
    if columns.number is not None:
        seen.number = seen.number or max(_whole(cell_of(row, columns.number)), 0)


def _whole(text: str) -> int:
    try:
        return whole(text)
    except ValueError:
        return 0


def _is_zero(text: str) -> bool:
    try:
        return number(text) == 0
    except ValueError:
        return False
