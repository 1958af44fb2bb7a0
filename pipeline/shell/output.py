"""Answers on stdout: for programs as JSON, for people as lines that fit their terminal."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from textwrap import wrap
from typing import Any, TextIO

from stages.printable import printable

_LEAST = 40
"""Columns below which text next to names would be too narrow."""
_INDENT = "  "


class _Outliving(io.FileIO):
    """A file whose reader may leave, as ``head`` does: what it did not wait for is thrown away."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def outlive_readers() -> None:
    """Go on when the reader of stdout or stderr leaves: a closed pipe is no error."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # The shell closed it: >&-
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper) and stream.fileno() == number:
            raw = io.BufferedWriter(_Outliving(number, "w", closefd=False))
            whole = io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
            setattr(sys, name, whole)


def keep_stdout() -> TextIO:
    """Reserve stdout for the answer: until the process ends, output of networks and libraries goes to stderr."""
    answer, sys.stdout = sys.stdout, sys.stderr
    return answer


def terminal_width() -> int:
    """Columns of the terminal; without one, and without COLUMNS, there is no limit."""
    limited = os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty()
    return shutil.get_terminal_size().columns if limited else sys.maxsize


def print_table(table: dict[str, Any], as_json: bool) -> None:
    """Print what belongs to each name: a text, or several with a title each."""
    if as_json:
        print(json.dumps(table))
    else:
        print(*map(printable, in_lines(table, terminal_width())), sep="\n")


def in_lines(table: dict[str, Any], width: int) -> Iterator[str]:
    """A table as lines that are no longer than a width, unless a word is: nothing is cut.

    >>> table = {"cam": {"cost": "none", "source": "Zhou et al. 2016"}, "gradcam": {"cost": "b"}}
    >>> print(*in_lines(table, 80), "", *in_lines(table, 30), sep="\\n")
    cam      cost=none  source=Zhou et al. 2016
    gradcam  cost=b
    <BLANKLINE>
    cam
      cost=none
      source=Zhou et al. 2016
    gradcam
      cost=b
    """
    column = max(map(len, table), default=0) + 2
    entries = {name: _parts(entry) for name, entry in table.items()}
    words = (word for parts in entries.values() for part in parts for word in part.split())
    whole = all(column + len("  ".join(parts)) <= width for parts in entries.values())
    beside = whole or width - column >= max([_LEAST, *map(len, words)])
    for name, parts in entries.items():
        lines = list(_packed(parts, width - column if beside else width - len(_INDENT)))
        if beside:
            yield f"{name:<{column}}{lines[0] if lines else ''}".rstrip()
            yield from (" " * column + line for line in lines[1:])
        else:
            yield name
            yield from (_INDENT + line for line in lines)


def side_by_side(table: dict[str, dict[str, Any]], width: int = sys.maxsize) -> list[str]:
    """Lines of text: a column for each entry of a table, a row for each key; in blocks that fit a width.

    >>> print(*side_by_side({"a": {"x": 1, "y": 2.5}, "bee": {"x": "one", "y": 2}}), sep="\\n")
       a    bee
    x  1    one
    y  2.5  2
    """
    keys = list(next(iter(table.values()), {}))
    columns = [["", *keys], *([name, *(str(entry[key]) for key in keys)] for name, entry in table.items())]
    widths = [max(map(len, column)) for column in columns]
    blocks: list[list[int]] = [[0]]
    for number in range(1, len(columns)):
        taken = sum(widths[one] + 2 for one in blocks[-1])
        if taken + widths[number] > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(number)
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        for cells in zip(*(columns[one] for one in block), strict=True):
            row = (f"{cell:<{widths[one]}}" for cell, one in zip(cells, block, strict=True))
            lines.append("  ".join(row).rstrip())
    return lines


def _parts(entry: Any) -> list[str]:
    if isinstance(entry, dict):
        return [f"{title}={text}" for title, text in entry.items()]
    if isinstance(entry, list):
        return list(map(str, entry))
    return [] if entry is None else [str(entry)]


def _packed(parts: list[str], width: int) -> Iterator[str]:
    """Parts in lines, as many as fit; one that is longer than a line is broken between its words."""
    line = ""
    for part in parts:
        if line and len(line) + 2 + len(part) > width:
            yield line
            line = ""
        line = f"{line}  {part}" if line else part
        if len(line) > width:
            *full, line = wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
            yield from full
    if line:
        yield line
