"""Cells of Parquet files as uris, so that images in the rows of a table are read in place.

The rows of a group are decoded one after the other, since nothing in a file says where a cell begins. Those that were
passed are kept, up to a limit: whoever asks for rows in their order, from whatever number of threads, has each group
decoded once. Beyond the limit, memory is needed for a page of the file and what it unpacks to.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import parse_qs, quote

from stages.errors import first_line
from stages.ingest import uris
from stages.ingest.outage import answering
from stages.ingest.paths import archive_of, local_path

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

KEPT = 64 << 20
"""Most bytes of a group's cells that a process keeps."""

_GROUPS = 2
_BATCH = 16
_BUFFER = 4 << 20


class _Cell(NamedTuple):
    """Whereabouts of a cell: the file, the dotted name of its column, the row group and the row in that."""

    archive: str
    column: str
    group: int
    row: int


def cell_uri(archive: str, column: str, group: int, row: int) -> str:
    """The uri of a cell.

    Args:
        archive: Local path or uri of the file.
        column: Dotted name of a column of bytes, such as ``image.bytes``.
        group: Row group.
        row: Row in the group.

    >>> cell_uri("/data/a b.parquet", "image.bytes", 0, 7)
    'parquet:/data/a%20b.parquet?column=image.bytes&group=0&row=7'
    """
    return f"parquet:{quote(archive)}?column={quote(column)}&group={group}&row={row}"


def open_table(uri: str) -> ParquetFile:
    """A Parquet file, of which only what is asked for is read.

    Raises:
        OSError: It cannot be read or is none; reading from it raises errors of pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = local_path(uri)
    try:
        with answering(uri):
            return pq.ParquetFile(uris.open_file(uri) if path is None else path, buffer_size=_BUFFER, pre_buffer=False)
    except pa.ArrowException as error:
        raise OSError(first_line(error)) from error


def read_bytes(uri: str, limit: int | None) -> bytes:
    """The bytes of one cell, as :func:`stages.ingest.uris.read_bytes`.

    Args:
        uri: As :func:`cell_uri` makes it.
        limit: Maximum number of bytes; None for all.

    Raises:
        OSError: There are none, or as the function above.
    """
    cell = _parse(uri)
    with answering(cell.archive):
        return _group(cell.archive, cell.column, cell.group, _stamp(cell.archive)).cell(cell.row)[:limit]


def open_file(uri: str) -> BinaryIO:
    """One cell as a seekable file, as :func:`stages.ingest.uris.open_file`."""
    return io.BytesIO(read_bytes(uri, None))


def _parse(uri: str) -> _Cell:
    found = parse_qs(uri.partition("?")[2])
    return _Cell(archive_of(uri), found["column"][0], int(found["group"][0]), int(found["row"][0]))


def _stamp(archive: str) -> tuple[int, int] | None:
    """What tells a file from another that took its place; a store would have to be asked for every image."""
    path = local_path(archive)
    if path is None:
        return None
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


class _Group:
    """The cells of one column in one row group; used by several threads at a time."""

    def __init__(self, archive: str, column: str, group: int) -> None:
        self._archive, self._column, self._group = archive, column, group
        self._lock = Lock()
        self._kept: dict[int, bytes | None] = {}
        self._bytes, self._next, self._broken = 0, 0, ""
        self._cells: Iterator[Any] = iter(())
        self._start()

    def cell(self, row: int) -> bytes:
        """The bytes in a row.

        Raises:
            OSError: It has none, is not there or cannot be decoded.
        """
        import pyarrow as pa

        with self._lock:
            if row not in self._kept and row < self._next:
                self._start()
            while row not in self._kept:
                if self._broken:
                    raise OSError(self._broken)
                try:
                    self._keep(next(self._cells, _END))
                except (pa.ArrowException, OSError) as error:
                    if getattr(error, "errno", None):  # It is the disk's.
                        self._start()
                        raise
                    # The rows behind it would have to be decoded after it.
                    self._broken = f"the table is damaged: {first_line(error)}"
                except Exception:
                    self._start()
                    raise
            data = self._kept[row]
        if data is None:
            raise OSError("the table has no image in this row")
        return data

    def _start(self) -> None:
        self._cells = _cells(self._archive, self._column, self._group)
        self._next, self._broken = 0, ""

    def _keep(self, data: Any) -> None:
        if data is _END:
            self._broken = "the table has fewer rows"
            return
        self._kept[self._next] = data
        self._next += 1
        self._bytes += len(data or b"")
        while self._bytes > KEPT and len(self._kept) > 1:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))) or b"")


_END = object()


def _cells(archive: str, column: str, group: int) -> Iterator[bytes | None]:
    """The values of a column in one row group, a few at a time."""
    with open_table(archive) as table:
        for batch in table.iter_batches(_BATCH, row_groups=[group], columns=[column], use_threads=False):
            values = batch.column(0)
            while values.type.num_fields:  # Of a struct only the field that was asked for is read.
                values = values.flatten()[0]
            for value in values:
                yield value.as_py()


@lru_cache(maxsize=_GROUPS)
def _group(archive: str, column: str, group: int, stamp: tuple[int, int] | None) -> _Group:
    """A group, kept until others are read; another stamp is another file."""
    return _Group(archive, column, group)
