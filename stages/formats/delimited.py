"""Texts that people, programs and spreadsheets write: their encodings, and what stands between their columns."""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Any

from stages.errors import DataError, StorageError, first_line
from stages.formats.source import Notes
from stages.ingest.paths import basename
from stages.ingest.uris import read_bytes

_SEPARATOR = re.compile(r"\Asep=(.)\s*?(?:\r\n?|\n)", re.IGNORECASE)
_MARKS = ",\t;|"


def text_of(uri: str, notes: Notes) -> str:
    """The text of a file, gzipped or not: in UTF-8, in UTF-16, or as Windows programs write it.

    Args:
        uri: The file.
        notes: Told where the text is not Unicode.

    Raises:
        DataError: It is not there, cannot be read, or is not what its name says.
    """
    try:
        data = read_bytes(uri)
        data = gzip.decompress(data) if uri.lower().endswith(".gz") else data
    except StorageError:
        raise
    except (zlib.error, EOFError, OSError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"cannot read {uri}: {reason}") from error
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError:
        notes.say(f"{basename(uri)} is not in UTF-8: it is read as Windows-1252")
        return data.decode("cp1252", errors="replace")


def encoding_of(start: bytes) -> str:
    """The Unicode encoding that a file of this beginning is in, if it is in Unicode."""
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def dialect_of(text: str) -> tuple[str, dict[str, Any]]:
    """The text of a table without Excel's own first line, and what :func:`csv.reader` must know of it.

    Spreadsheets write semicolons or tabs between the columns in some countries.

    >>> dialect_of("sep=|\\na|b\\n"), dialect_of("a;b\\n1,5;2\\n")[1]["delimiter"]
    (('a|b\\n', {'delimiter': '|', 'skipinitialspace': True}), ';')
    """
    said = _SEPARATOR.match(text)
    rest = text[said.end() :] if said else text
    mark = said[1] if said else max(_MARKS, key=rest.partition("\n")[0].count)
    return rest, {"delimiter": mark, "skipinitialspace": mark != "\t"}
