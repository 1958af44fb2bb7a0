"""Kaggle's ``LOC_val_solution.csv``, as published or with one row per box."""

from __future__ import annotations

import csv
import io
import re

from stages.errors import DataError
from stages.formats.imagenet.row import Row, box_label, number, stem_of, text_of
from stages.formats.source import Notes
from stages.ingest.paths import basename

Box = tuple[int, list[float]]

_SEPARATOR = re.compile(r"\Asep=.\s*?(?:\r\n?|\n)", re.IGNORECASE)
"""Excel's own first line."""


def read_csv(uri: str, notes: Notes) -> dict[str, Row]:
    """Boxes by the stem of their image. All rows of an image count; a row that occurs twice counts once.

    The columns ``ImageId`` and ``PredictionString`` may have any order and others beside them.

    Args:
        uri: The file.
        notes: Findings, which count rows that cannot be read or are repeated.

    Raises:
        DataError: One of the columns is missing.
    """
    text = _SEPARATOR.sub("", text_of(uri))
    delimiter = _delimiter(text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t")
    columns = [field.strip().casefold() for field in next(lines, [])]
    if not {"imageid", "predictionstring"} <= set(columns):
        raise DataError(f"{uri}: line 1 is not ImageId,PredictionString and names no such columns; add it")
    image, prediction = columns.index("imageid"), columns.index("predictionstring")
    # The last column may hold a separator as well, where something wrote commas for blanks.
    end = None if prediction == len(columns) - 1 else prediction + 1
    rows: dict[str, list[list[Box]]] = {}
    for fields in filter(any, lines):
        try:
            words = " ".join([fields[prediction], *fields[prediction + 1 : end]])
            stem, boxes = stem_of(fields[image]), _boxes(words, notes)
        except (IndexError, ValueError):
            what = f"lines of {basename(uri)} are not 'image,wnid x y x y ...': left out"
            notes.count(what, example=f"line {lines.line_num}")
            continue
        known = rows.setdefault(stem, [])
        if boxes in known:
            what = f"lines of {basename(uri)} say the same of their image as an earlier one: counted once"
            notes.count(what, example=f"line {lines.line_num}")
        else:
            known.append(boxes)
    return {stem: _row([box for boxes in known for box in boxes]) for stem, known in rows.items()}


def _delimiter(text: str) -> str:
    """The mark between the columns: spreadsheets write semicolons or tabs in some countries."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _boxes(prediction: str, notes: Notes) -> list[Box]:
    words = prediction.split()
    return [
        (box_label(wnid, notes), [number(edge) for edge in edges])
        for wnid, *edges in zip(*[iter(words)] * 5, strict=True)
    ]


def _row(boxes: list[Box]) -> Row:
    return Row(boxes[0][0] if boxes else -1, boxes)
