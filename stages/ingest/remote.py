"""Files and folders of object stores and other file systems that ``pyarrow.fs`` opens."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from stages.errors import DataError
from stages.ingest.outage import answering
from stages.ingest.paths import check_no_secret, with_path

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def read_bytes(uri: str, limit: int | None) -> bytes:
    """Implement :func:`stages.ingest.uris.read_bytes` for remote files."""
    with answering(uri), open_file(uri) as file:
        return file.read() if limit is None else file.read(limit)


def open_file(uri: str) -> BinaryIO:
    """Implement :func:`stages.ingest.uris.open_file` for remote files."""
    return _RemoteFile(uri)


def is_file(uri: str) -> bool:
    """Implement :func:`stages.ingest.uris.is_file` for remote files."""
    return _kind(uri) == "File"


def is_folder(uri: str) -> bool:
    """Implement :func:`stages.ingest.uris.is_folder` for remote folders."""
    return _kind(uri) == "Directory"


def list_folder(uri: str) -> tuple[list[str], list[str]]:
    """Implement :func:`stages.ingest.uris.list_folder` for remote folders."""
    entries = _entries(uri, recursive=False)
    return [name for name, is_dir in entries if is_dir], [name for name, is_dir in entries if not is_dir]


def walk(uri: str) -> list[str]:
    """Implement :func:`stages.ingest.uris.walk` for remote folders."""
    return [name for name, is_dir in _entries(uri, recursive=True) if not is_dir]


def remote(uri: str) -> tuple[FileSystem, str]:
    """The file system of a remote uri and the path in it.

    Raises:
        ConfigurationError: The uri carries a secret.
        DataError: Nothing can be opened there.
    """
    parts = urlsplit(uri)
    filesystem, root = filesystem_of(with_path(parts, "/"))
    return filesystem, f"{root}{unquote(parts.path)}".rstrip("/")


@lru_cache(maxsize=16)
def filesystem_of(root: str) -> tuple[FileSystem, str]:
    """The file system of a bucket or host, cached because creating one may query its region over the network.

    Args:
        root: Uri without a path, such as ``s3://bucket/?region=eu-west-1``.

    Returns:
        The file system and the path of the root in it, without a trailing slash.

    Raises:
        ConfigurationError: The uri carries a secret.
        DataError: Nothing can be opened there.
    """
    from pyarrow.fs import FileSystem

    parts = urlsplit(root)
    check_no_secret(root)
    if parts.scheme == "s3":  # Small files are written with one PUT, not with the three calls of a multipart upload.
        root += f"{'&' if parts.query else '?'}allow_delayed_open=true"
    try:
        filesystem, path = FileSystem.from_uri(root)
    except (ValueError, OSError) as error:
        raise DataError(f"cannot open {parts.scheme}://{parts.netloc}: {' '.join(str(error).split())}") from error
    return filesystem, path.rstrip("/")


class _RemoteFile(io.RawIOBase, BinaryIO):
    """A file in a store, whose errors tell whether the store or the file is at fault."""

    def __init__(self, uri: str) -> None:
        filesystem, path = remote(uri)
        self._uri = uri
        with answering(uri):
            self._file = filesystem.open_input_file(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        with answering(self._uri):
            data: bytes = self._file.read(None if size is None or size < 0 else size)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _kind(uri: str) -> str:
    filesystem, path = remote(uri)
    with answering(uri):
        return str(filesystem.get_file_info(path).type.name)


def _entries(folder: str, recursive: bool) -> list[tuple[str, bool]]:
    """Entries (name relative to the folder, whether it is a folder), in bytewise order."""
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = remote(folder)
    with answering(folder):
        found = filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=recursive))
    return sorted((info.path.removeprefix(path).lstrip("/"), info.type == FileType.Directory) for info in found)
