"""What the columns of a table are, by their headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from stages.formats.label_cells import SEVERAL
from stages.formats.tables import ImageNames, Table, image_column, label_column

Four = tuple[int, int, int, int]

# Headers in lower case and without separators, in the order of a box: OpenImages has XMin, XMax, YMin, YMax.
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("minx", "miny", "maxx", "maxy"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
)
_SIZED = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_BEFORE = ("", "bbox", "box")
_SIZES = (("width", "height"), ("imagewidth", "imageheight"), ("imgwidth", "imgheight"), ("imagew", "imageh"))
_SPLITS = ("split", "subset", "partition", "set")
_IGNORED = ("isgroupof", "iscrowd", "difficult", "ignore")
_NUMBERS = ("imageid", "id")


class Columns(NamedTuple):
    """Places of columns; None where there is none.

    Attributes:
        image: Name of the image.
        label: Class.
        several: Whether a cell may hold several classes.
        box: x0, y0, x1, y1, or x, y, width, height.
        sized: Whether the box is the latter.
        size: Width and height of the image.
        split: Part of the dataset.
        number: Number of the image.
        confidence: Whether a class is there, where people have checked it.
        ignored: Flags of boxes that are neither found nor missed.
    """

    image: int
    label: int | None
    several: bool
    box: Four | None
    sized: bool
    size: tuple[int, int] | None
    split: int | None
    number: int | None
    confidence: int | None
    ignored: tuple[int, ...]


def columns_of(table: Table, images: ImageNames) -> Columns | None:
    """The columns of a table; None where none names images."""
    image = image_column(table, images)
    if image is None:
        return None
    plain = [re.sub(r"[\W_]", "", header).lower() for header in table.header]
    at = {header: place for place, header in reversed(list(enumerate(plain))) if place != image}
    tried = [tuple(before + one for one in names) for before, names in product(_BEFORE, (*_CORNERS, *_SIZED))]
    box = next((names for names in tried if at.keys() >= set(names)), ())
    places = tuple(at[one] for one in box)
    several = _first(at, SEVERAL)
    label = label_column(table.header, image)
    label = several if label is None else label
    left = {header: place for header, place in at.items() if place not in places}
    size = next((names for names in _SIZES if left.keys() >= set(names)), None)
    return Columns(
        image,
        label,
        label is not None and plain[label] in SEVERAL,
        (places[0], places[1], places[2], places[3]) if places else None,
        bool(box) and box[2].endswith(("w", "width")),
        (left[size[0]], left[size[1]]) if size else None,
        _first(at, _SPLITS),
        _first(at, _NUMBERS),
        at.get("confidence"),
        tuple(at[one] for one in _IGNORED if one in at),
    )


def _first(at: dict[str, int], names: Sequence[str]) -> int | None:
    return next((at[one] for one in names if one in at), None)
