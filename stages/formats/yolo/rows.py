"""The lines of a YOLO label file."""

from __future__ import annotations

from typing import NamedTuple

from stages.formats.numbers import number, whole
from stages.formats.source import Notes


class Shape(NamedTuple):
    """An object.

    Attributes:
        label: Number of its class.
        edges: x0, y0, x1, y1 as shares of the image, which may lie outside it.
    """

    label: int
    edges: tuple[float, float, float, float]


def parse(name: str, text: str, has_keypoints: bool, notes: Notes) -> list[Shape]:
    """The objects of a file, each once: a class, then centre and size of a box, or the corners of a polygon.

    A sixth column is the confidence of a box, as is the odd one behind a polygon. Polygons, also those of four corners,
    give their enclosing boxes.

    Args:
        name: Name of the file, for notes.
        text: Its content.
        has_keypoints: Whether key points stand behind each box.
        notes: Findings.
    """
    found: dict[Shape, None] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            first, *words = line.split()
            values = [number(word) for word in words]
            shape = Shape(whole(first), _edges(values[:4] if has_keypoints else values))
            if shape.label < 0:
                raise ValueError(first)
        except ValueError:
            notes.count("lines are no class and box: left out", example=f"{name}: {line[:60]}")
            continue
        notes.count("lines are repeated: they count once", shape in found)
        found[shape] = None
    return list(found)


def _edges(values: list[float]) -> tuple[float, float, float, float]:
    """Edges of a box or polygon.

    Raises:
        ValueError: The numbers are neither.
    """
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        if width <= 0 or height <= 0:
            raise ValueError(values)
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6:
        raise ValueError(values)
    corners = len(values) // 2 * 2
    xs, ys = values[:corners:2], values[1:corners:2]
    return min(xs), min(ys), max(xs), max(ys)
