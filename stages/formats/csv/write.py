"""Writer of a table of boxes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from stages.classes import ClassInfo
from stages.formats.labels import Files, Split

_HEADER = [
    "file_name",
    "image_id",
    "width",
    "height",
    "split",
    "label",
    "x0",
    "y0",
    "x1",
    "y1",
    "score",
    "quality",
    "source",
    "status",
]


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``labels.csv``, as RFC 4180 has it: half-open pixel edges, a row without box for an image that has none.

    ``classes.txt`` keeps the order of the classes, and those that no image shows.

    Args:
        splits: The parts of the dataset, which the column ``split`` names.
        classes: Classes in label order.
        description: Description of the data, which the format has no place for.
    """
    yield "labels.csv", _rows(splits, classes)
    yield "classes.txt", (f"{info.name}\n".encode() for info in classes)


def _rows(splits: Sequence[Split], classes: Sequence[ClassInfo]) -> Iterable[bytes]:
    yield _line(_HEADER)
    for split in splits:
        for image, labels in split.images():
            about = [image.file_name, image.image_id, image.width, image.height, split.name]
            for label in labels:
                edges = ["", "", "", ""] if label.box is None else [round(edge, 4) for edge in label.box]
                numbers = ["" if value is None else round(value, 6) for value in (label.score, label.quality)]
                yield _line([*about, classes[label.class_index].name, *edges, *numbers, label.source, label.status])
            if not labels:
                yield _line([*about, *[""] * (len(_HEADER) - len(about))])


def _line(values: Sequence[object]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
