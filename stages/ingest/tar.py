"""Members of tar files as uris, so that a dataset in a tar is read in place."""

from __future__ import annotations

import tarfile
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import parse_qs, quote, unquote

from stages.errors import DataError
from stages.ingest.outage import answering
from stages.ingest.unzipped import MAGIC, open_unzipped
from stages.ingest.uris import open_file

# First bytes of what has no random access.
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}


def tar_members(archive: str) -> tuple[dict[str, str], int]:
    """The regular files of a tar, which may be gzipped.

    Args:
        archive: Local path or uri.

    Returns:
        Uri of each member by its normalised POSIX name, and the number of members left out because they are
        links or devices, or have a name that is absolute or points outside.

    Raises:
        DataError: The file is no tar, is cut off, or is compressed in another way.
    """
    uris: dict[str, str] = {}
    left_out = 0
    try:
        with open_file(archive) as file:
            start = file.read(8)
        for magic, name in _OTHERS.items():
            if start.startswith(magic):
                raise DataError(f"{archive} is compressed by {name}, in which no image can be reached; unpack it")
        zipped = start.startswith(MAGIC)
        # Iterating reads headers only; "r:" takes the offsets as they are in the content.
        with _open(archive, zipped) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    left_out += 1
                    continue
                where = f"offset={member.offset_data}&size={member.size}" + ("&gzip=1" if zipped else "")
                uris[str(path)] = f"tar:{quote(archive)}?{where}#{quote(str(path))}"
            file.seek(tar.offset)
            # tarfile takes the end of the file for the end of the archive, which is a block of zeros.
            if file.read(tarfile.BLOCKSIZE).strip(b"\0") or file.seek(0, 2) < tar.offset:
                raise DataError(f"the tar file {archive} is cut off; fetch it again")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"cannot read the tar file {archive}: {error}; fetch it again") from error
    return uris, left_out


def read_bytes(uri: str, limit: int | None) -> bytes:
    """The bytes of one member, as :func:`stages.ingest.uris.read_bytes`.

    Args:
        uri: ``tar:ARCHIVE?offset=N&size=M#MEMBER``, with ``&gzip=1`` where the archive is gzipped.
        limit: Maximum number of bytes to read; None for all.
    """
    archive, _, where = uri.removeprefix("tar:").partition("?")
    span = parse_qs(where.partition("#")[0])
    size = int(span["size"][0])
    with answering(unquote(archive)), _open(unquote(archive), "gzip" in span) as file:
        file.seek(int(span["offset"][0]))
        return file.read(size if limit is None else min(size, limit))


def _open(archive: str, zipped: bool) -> BinaryIO:
    return open_unzipped(archive) if zipped else open_file(archive)
