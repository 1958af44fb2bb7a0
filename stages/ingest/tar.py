"""Members of tar files as uris, so that a dataset in a tar is read in place."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, NamedTuple, cast
from urllib.parse import parse_qs, quote, unquote

from stages.errors import DataError
from stages.ingest import uris
from stages.ingest.outage import answering
from stages.ingest.paths import archive_of, local_path
from stages.ingest.unzipped import MAGIC, open_unzipped

_MOST_OF_HEADER = 1 << 20
# Bytes of one request to a store: images are mostly smaller, so a tar is read as it comes and not header by header.
_AHEAD = 8 << 20
# First bytes of what has no random access.
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}


class Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: Its normalised POSIX name.
        uri: Where its bytes are; empty for a link or device, or where the name is absolute or points outside.
        size: Number of bytes.
        content: Its bytes, where they were asked for.
    """

    name: str
    uri: str
    size: int
    content: bytes | None = None


def tar_members(archive: str) -> tuple[dict[str, str], int]:
    """The regular files of a tar, which may be gzipped, or be a member of another tar.

    Args:
        archive: Local path or uri; that of a member gives members of the outer tar, at their places in it.

    Returns:
        Uri of each member by its normalised POSIX name, and the number of members left out because they are
        links or devices, or have a name that is absolute or points outside.

    Raises:
        DataError: The file is no tar, is cut off, or is compressed in another way.
    """
    members = list(each_member(archive))
    found = {member.name: member.uri for member in members if member.uri}
    return found, sum(not member.uri for member in members)


def each_member(archive: str, wanted: Callable[[str, int], bool] = lambda name, size: False) -> Iterator[Member]:
    """The files of a tar in their order, in one pass over its headers.

    Args:
        archive: Local path or uri; the content may be gzipped.
        wanted: Function from the name and size of a member to whether its content is read on the way.

    Raises:
        DataError: As for :func:`tar_members`, behind the members that can be read.
    """
    inner = archive.startswith("tar:")
    shown = f"{unquote(archive.partition('#')[2])} in {archive_of(archive)}" if inner else archive
    try:
        with uris.open_file(archive) as file:
            start = file.read(8)
        zipped = start.startswith(MAGIC)
        for magic, name in (_OTHERS | {MAGIC: "gzip"} if inner else _OTHERS).items():
            if start.startswith(magic):
                raise DataError(f"{shown} is compressed by {name}, in which no image can be reached; unpack it")
        outer, outer_zipped, first, _ = _parse(archive) if inner else (archive, zipped, 0, 0)
        query = "&gzip=1" if outer_zipped else ""
        # Iterating reads headers only; "r:" takes the offsets as they are in the content.
        with _ahead(archive, zipped) as file, tarfile.open(fileobj=cast(IO[bytes], _Headers(file)), mode="r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    yield Member(str(path), "", member.size)
                    continue
                where = f"offset={first + member.offset_data}&size={member.size}{query}"
                uri = f"tar:{quote(outer)}?{where}#{quote(str(path), errors='surrogateescape')}"
                content = None
                if wanted(str(path), member.size):
                    file.seek(member.offset_data)
                    content = file.read(member.size)
                yield Member(str(path), uri, member.size, content)
            file.seek(tar.offset)
            # tarfile takes the end of the file for the end of the archive, which is a block of zeros.
            if file.read(tarfile.BLOCKSIZE).strip(b"\0") or file.seek(0, 2) < tar.offset:
                raise DataError(f"the tar file {shown} is cut off; fetch it again")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"cannot read the tar file {shown}: {error}; fetch it again") from error


class _Headers:
    """A tar whose headers alone are read; tarfile reads one as long as it claims to be, into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            OSError: They are more than any header has.
        """
        if size > _MOST_OF_HEADER:
            raise OSError(f"it has a name or header of {size:,} bytes")
        return self._file.read(size)


def read_bytes(uri: str, limit: int | None) -> bytes:
    """The bytes of one member, as :func:`stages.ingest.uris.read_bytes`.

    Args:
        uri: ``tar:ARCHIVE?offset=N&size=M#MEMBER``, with ``&gzip=1`` where the archive is gzipped.
        limit: Maximum number of bytes to read; None for all.
    """
    archive, zipped, start, size = _parse(uri)
    with answering(archive), _open(archive, zipped) as file:
        file.seek(start)
        return file.read(size if limit is None else min(size, limit))


def open_file(uri: str) -> BinaryIO:
    """One member as a seekable file, as :func:`stages.ingest.uris.open_file`."""
    return io.BufferedReader(_Member(uri))


class _Member(io.RawIOBase):
    """See :func:`open_file`."""

    def __init__(self, uri: str) -> None:
        self._archive, zipped, self._start, self._size = _parse(uri)
        self._position = 0
        with answering(self._archive):
            self._file = _open(self._archive, zipped)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(self._size)

    def _read(self, most: int) -> bytes:
        with answering(self._archive):
            self._file.seek(self._start + self._position)
            data = self._file.read(max(0, min(most, self._size - self._position)))
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _parse(uri: str) -> tuple[str, bool, int, int]:
    """The archive, whether it is gzipped, and the member's place and size in its content."""
    span = parse_qs(uri.partition("?")[2].partition("#")[0])
    return archive_of(uri), "gzip" in span, int(span["offset"][0]), int(span["size"][0])


def _open(archive: str, zipped: bool) -> BinaryIO:
    return open_unzipped(archive) if zipped else uris.open_file(archive)


def _ahead(archive: str, zipped: bool) -> BinaryIO:
    """The content of a tar for reading from its beginning to its end."""
    file = _open(archive, zipped)
    local = zipped or local_path(archive_of(archive)) is not None
    return file if local else cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, file), _AHEAD))
