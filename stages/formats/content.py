"""The content of annotation files and their archives, unpacked within limits: nothing else says how much it will be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any

from stages.errors import DataError, first_line
from stages.ingest.outage import answering
from stages.ingest.paths import basename
from stages.ingest.unzipped import MAGIC, check_ratio
from stages.ingest.uris import open_file

ANNOTATION_LIMIT = 512
"""Default of the largest annotation file, in MiB: COCO's own largest has 448."""

_UNPACKERS: dict[bytes, Any] = {MAGIC: gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_PIECE = 1 << 20
_limit = ContextVar("_limit", default=ANNOTATION_LIMIT)


class UnpackError(DataError):
    """A file that is damaged, or has or unpacks to more than is read."""


@contextmanager
def annotations_within(limit: int) -> Iterator[None]:
    """Read annotation files up to another size in the ``with`` block.

    Args:
        limit: Most MiB of a file, unpacked.
    """
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def content_of(uri: str) -> bytes:
    """The content of a file, unpacked where it is packed by gzip, bzip2 or xz.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It cannot be read.
        DataError: It is damaged, or has more bytes than :func:`annotations_within` allows.
    """
    with opened(uri) as file:
        return b"".join(iter(lambda: file.read(_PIECE), b""))


@contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """A file, unpacked in the same way, to be read from its beginning to its end in the ``with`` block.

    Raises:
        OSError: It cannot be read.
        DataError: As in :func:`content_of`, also from reading it.
    """
    most = _limit.get() << 20
    with answering(uri), open_file(uri) as file:
        start = file.read(max(map(len, _UNPACKERS)))
        unpacker = next((one for magic, one in _UNPACKERS.items() if start.startswith(magic)), None)
        if unpacker is None and file.seek(0, os.SEEK_END) > most:
            raise _too_large(uri, most)
        file.seek(0)
        if unpacker is None:
            yield file
            return
        yield io.BufferedReader(_Unpacked(uri, file, unpacker(file), most))


class _Unpacked(io.RawIOBase):
    """What an unpacker gives, until it is too much."""

    def __init__(self, uri: str, packed: IO[bytes], content: IO[bytes], most: int) -> None:
        self._uri, self._packed, self._content, self._most = uri, packed, content, most
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._content.read(min(len(buffer), _PIECE))
            self._count += len(data)
            check_ratio(self._count, self._packed.tell())
        except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            if getattr(error, "errno", None):  # It is the disk's.
                raise
            raise UnpackError(f"cannot read {self._uri}: {first_line(error)}") from error
        if self._count > self._most:
            raise _too_large(self._uri, self._most)
        buffer[: len(data)] = data
        return len(data)


def _too_large(uri: str, most: int) -> UnpackError:
    return UnpackError(f"{basename(uri)} has more than {most >> 20:,} MiB; set more if it is right", "annotation_limit")
