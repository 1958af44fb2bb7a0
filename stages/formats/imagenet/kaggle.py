"""Kaggle's ``LOC_val_solution.csv``, as published or with one row per box."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from stages.errors import DataError
from stages.formats.delimited import dialect_of, text_of
from stages.formats.imagenet.row import Row, box_label, stem_of
from stages.formats.numbers import number
from stages.formats.source import Notes
from stages.ingest.paths import basename

Box = tuple[int, list[float]]

_LINE_END = re.compile(r"\r\n?|\n")


def read_csv(uri: str, notes: Notes) -> dict[str, Row]:
    """Boxes by the stem of their image. All rows of an image count; a row that occurs twice counts once.

    The columns ``ImageId`` and ``PredictionString`` may have any order and others beside them.

    Args:
        uri: The file.
        notes: Findings, which count rows that cannot be read or are repeated.

    Raises:
        DataError: One of the columns is missing.
    """
    lines = _lines(text_of(uri, notes))
    columns = [field.strip().casefold() for field in next(lines)[1]]
    if not {"imageid", "predictionstring"} <= set(columns):
        raise DataError(f"{uri}: line 1 is not ImageId,PredictionString and names no such columns; add it")
    image, prediction = columns.index("imageid"), columns.index("predictionstring")
    # The last column may hold a separator as well, where something wrote commas for blanks.
    end = None if prediction == len(columns) - 1 else prediction + 1
    rows: dict[str, list[list[Box]]] = {}
    for position, fields in lines:
        if not any(fields):
            continue
        try:
            words = " ".join([fields[prediction], *fields[prediction + 1 : end]])
            stem, boxes = stem_of(fields[image]), _boxes(words, notes)
        except (IndexError, ValueError):
            what = f"lines of {basename(uri)} are not 'image,wnid x y x y ...': left out"
            notes.count(what, example=f"line {position}")
            continue
        known = rows.setdefault(stem, [])
        if boxes in known:
            what = f"lines of {basename(uri)} say the same of their image as an earlier one: counted once"
            notes.count(what, example=f"line {position}")
        else:
            known.append(boxes)
    return {stem: _row([box for boxes in known for box in boxes]) for stem, known in rows.items()}


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line. A quote that is not closed ends with its line: no field has line ends in it."""
    table, dialect = dialect_of(text)
    for position, line in enumerate(_LINE_END.split(table), start=1 if table == text else 2):
        try:
            yield position, next(csv.reader([line], **dialect), [])
        except csv.Error:  # A field without end.
            yield position, [line]


def _boxes(prediction: str, notes: Notes) -> list[Box]:
    words = prediction.split()
    return [
        (box_label(wnid, notes), [number(edge) for edge in edges])
        for wnid, *edges in zip(*[iter(words)] * 5, strict=True)
    ]


def _row(boxes: list[Box]) -> Row:
    return Row(boxes[0][0] if boxes else -1, boxes)
