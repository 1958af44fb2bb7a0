"""Members of tar files as uris, so that a dataset in a tar is read in place."""

from __future__ import annotations

import tarfile
from pathlib import PurePosixPath
from urllib.parse import parse_qs, quote, unquote

from stages.errors import DataError
from stages.ingest.outage import answering
from stages.ingest.uris import open_file


def tar_members(archive: str) -> tuple[dict[str, str], int]:
    """The regular files of an uncompressed tar.

    Args:
        archive: Local path or uri.

    Returns:
        Uri of each member by its normalised POSIX name, and the number of members left out because they are
        links or devices, or have a name that is absolute or points outside.

    Raises:
        DataError: The file is not an uncompressed tar, or is cut off.
    """
    uris: dict[str, str] = {}
    left_out = 0
    try:
        # Iterating reads headers only; "r:" refuses compression, where offsets would mean nothing.
        with open_file(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    left_out += 1
                    continue
                where = f"offset={member.offset_data}&size={member.size}"
                uris[str(path)] = f"tar:{quote(archive)}?{where}#{quote(str(path))}"
            file.seek(tar.offset)
            # tarfile takes the end of the file for the end of the archive, which is a block of zeros.
            if file.read(tarfile.BLOCKSIZE).strip(b"\0") or file.seek(0, 2) < tar.offset:
                raise DataError(f"the tar file {archive} is cut off; fetch it again")
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"cannot read the tar file {archive}: {error}; fetch it again") from error
    return uris, left_out


def read_bytes(uri: str, limit: int | None) -> bytes:
    """The bytes of one member, as :func:`stages.ingest.uris.read_bytes`.

    Args:
        uri: ``tar:ARCHIVE?offset=N&size=M#MEMBER``.
        limit: Maximum number of bytes to read; None for all.
    """
    archive, _, where = uri.removeprefix("tar:").partition("?")
    span = parse_qs(where.partition("#")[0])
    size = int(span["size"][0])
    with answering(unquote(archive)), open_file(unquote(archive)) as file:
        file.seek(int(span["offset"][0]))
        return file.read(size if limit is None else min(size, limit))
