"""Random access to gzipped files, which are never unpacked as a whole.

The content is divided into blocks. The state of the decompressor at the start of each block that was reached is kept,
so that a block is decompressed without those before it: about 50 kB a block.
"""

from __future__ import annotations

import io
import os
import zlib
from collections import OrderedDict
from functools import lru_cache
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

from stages.ingest.uris import open_file

MAGIC = b"\x1f\x8b"
"""The first bytes of every gzipped file."""

BLOCK = 8 << 20
"""Bytes of content in a block."""

MOST_RATIO, FREE = 100, 64 << 20
"""Bytes of content for each byte of a gzipped file, beyond those that any may have. Texts and images have up to 50."""

_KEPT_BLOCKS = 4
_READ = 1 << 18
_GZIP = 16 + zlib.MAX_WBITS


class _Point(NamedTuple):
    """State of the decompressor between two blocks.

    Attributes:
        decompressor: Copied before it is used; None between two members of the file.
        pending: Bytes that were read and not yet decompressed.
        offset: Place in the file after them.
    """

    decompressor: Any
    pending: bytes
    offset: int


class _Blocks:
    """The blocks of one file; used by several threads at a time."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._points = [_Point(None, b"", 0)]
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Lock()

    def block(self, index: int) -> bytes:
        """One block, shorter than the others at the end of the content and empty after it."""
        with self._lock:
            while index not in self._recent and index >= len(self._points):
                before = len(self._points) - 1
                if len(self._reach(before)) < BLOCK:
                    return b""
            return self._reach(index)

    def _reach(self, index: int) -> bytes:
        """A block whose point is known; the next point is known afterwards, if there is one."""
        if index in self._recent:
            self._recent.move_to_end(index)
            return self._recent[index]
        with open_file(self._uri) as file:
            content, after = _decompress(file, self._points[index])
        check_ratio(index * BLOCK + len(content), after.offset)
        if index + 1 == len(self._points) and len(content) == BLOCK:
            self._points.append(after)
        self._recent[index] = content
        if len(self._recent) > _KEPT_BLOCKS:
            self._recent.popitem(last=False)
        return content


def check_ratio(content: int, packed: int) -> None:
    """Check that a compressed file is none that was made to fill the memory.

    Args:
        content: Bytes of its content so far.
        packed: Bytes of the file that they were in.

    Raises:
        OSError: The content is too large for that.
    """
    if content > FREE + MOST_RATIO * packed:
        raise OSError(f"it unpacks to more than {MOST_RATIO} times its size; unpack it yourself if it is right")


def _decompress(file: BinaryIO, point: _Point) -> tuple[bytes, _Point]:
    """The block that begins at a point, and the next point."""
    decompressor = point.decompressor and point.decompressor.copy()
    pending, offset = point.pending, point.offset
    file.seek(offset)
    content = bytearray()
    while len(content) < BLOCK:
        if not pending:
            pending = file.read(_READ)
            offset += len(pending)
            if not pending and decompressor:
                raise EOFError("the gzipped file is cut off")
            if not pending:
                break
        if decompressor is None:
            pending = pending.lstrip(b"\0")  # Members may be followed by padding.
            if not pending:
                continue
            decompressor = zlib.decompressobj(_GZIP)
        try:
            content += decompressor.decompress(pending, BLOCK - len(content))
        except zlib.error as error:
            raise OSError(f"the gzipped file is damaged: {error}") from error
        pending = decompressor.unconsumed_tail
        if decompressor.eof:
            pending, decompressor = decompressor.unused_data, None
    return bytes(content), _Point(decompressor, pending, offset)


@lru_cache(maxsize=4)
def _blocks(uri: str, size: int) -> _Blocks:
    """The blocks of a file, kept for the life of the process; another size is another file."""
    return _Blocks(uri)


def open_unzipped(uri: str) -> BinaryIO:
    """The content of a gzipped file as a seekable binary file.

    Args:
        uri: Local path or uri.

    Raises:
        OSError: It cannot be read or is damaged, here or while it is read.
        EOFError: It is cut off, found while it is read.
    """
    return io.BufferedReader(_Unzipped(uri))


class _Unzipped(io.RawIOBase):
    """See :func:`open_unzipped`."""

    def __init__(self, uri: str) -> None:
        with open_file(uri) as file:
            self._blocks = _blocks(uri, file.seek(0, os.SEEK_END))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:  # found by decompressing all
            index = 0
            while len(block := self._blocks.block(index)) == BLOCK:
                index += 1
            offset += index * BLOCK + len(block)
        elif whence == os.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        index, start = divmod(self._position, BLOCK)
        target = memoryview(buffer)
        piece = self._blocks.block(index)[start : start + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)
