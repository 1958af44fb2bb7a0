"""Writer of YOLO datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import yaml

from stages.classes import ClassInfo
from stages.formats.labels import Box, Files, Labelled, Split


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``labels/``, ``labels_conf/``, ``classes.txt`` and ``data.yaml``.

    A line is a class counted from 0, and centre and size of a box as shares of the image. An image without objects has
    an empty file. ``labels_conf/`` has the scores as a sixth column, with which no line is valid for training.

    Args:
        splits: The parts of the dataset; where none is called ``val``, the last is the validation set too.
        classes: Classes in label order.
        description: Description of the data, a comment of ``data.yaml``.
    """
    for split in splits:
        for one in split.images():
            path = PurePosixPath(split.name, one.image.file_name).with_suffix(".txt")
            lines = _lines(one)
            yield f"labels/{path}", [f"{line}\n".encode() for line, _ in lines]
            if any(score is not None for _, score in lines):
                scored = ((line, 1.0 if score is None else score) for line, score in lines)
                yield f"labels_conf/{path}", [f"{line} {score:.6f}\n".encode() for line, score in scored]
    # Without path, the folder of the file is meant; a relative one would be looked for elsewhere.
    parts = {split.name: f"images/{split.name}" for split in splits}
    validation = {} if "val" in parts else {"val": f"images/{splits[-1].name}"}
    tree = {**parts, **validation, "names": {index: info.name for index, info in enumerate(classes)}}
    comment = " ".join(description.split())
    yield "data.yaml", [f"# {comment}\n{yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)}".encode()]
    yield "classes.txt", (f"{' '.join(info.name.splitlines())}\n".encode() for info in classes)  # one line a class


def _lines(one: Labelled) -> list[tuple[str, float | None]]:
    """The line of each box, and its score."""
    found: dict[str, float | None] = {}  # A line that stands twice is an error for training.
    for label in one.labels:
        if label.box is not None:
            shares = relative(label.box, one.image.width, one.image.height)
            found.setdefault(" ".join([str(label.class_index), *(f"{share:.6f}" for share in shares)]), label.score)
    return list(found.items())


def relative(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """Centre and size of a box as shares of its image.

    >>> relative((0.0, 0.0, 20.0, 5.0), 40, 10)
    (0.25, 0.25, 0.5, 0.5)
    """
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
