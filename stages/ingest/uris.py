"""Where the bytes of an image are: local files, object stores, members of tar files, rendered digits.

A uri is one of

* a local path, or ``file://`` with a percent-encoded path;
* ``s3://``, ``gs://`` or whatever else ``pyarrow.fs`` opens, percent-encoded, options in the query;
* ``tar:ARCHIVE?offset=N&size=M#MEMBER``: the bytes of one member of an uncompressed tar, where ARCHIVE is
  one of the above, percent-encoded (:mod:`stages.ingest.tar` makes these);
* ``digits://SPLIT/INDEX?seed=N``: a canvas of the demo, rendered when it is read.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from stages.errors import ConfigurationError, DataError, StorageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET = re.compile(r"secret|token|passw|access_?key|signature|account_?key|\bsig=", re.IGNORECASE)
# Errors of a machine, a network or a mount, which say nothing about the file that was asked for.
_NOT_THE_FILE = frozenset(
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED"),
    )
    if hasattr(errno, name)
)
# What stores say of one object: it is a folder, or it lies in an archive.
_THE_OBJECT = ("Not a regular file", "INVALID_OBJECT_STATE", "InvalidObjectState")


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """The encoded image behind a uri, or no more than its first ``limit`` bytes.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It cannot be read.
        StorageError: The disk or store does not answer.
        UserError: A package that the uri needs is not installed, or its scheme is unknown.
    """
    if uri.startswith("tar:"):
        archive, _, where = uri.removeprefix("tar:").partition("?")
        span = parse_qs(where.partition("#")[0])
        size = int(span["size"][0])
        with _answering(unquote(archive)), open_file(unquote(archive)) as file:
            file.seek(int(span["offset"][0]))
            return file.read(size if limit is None else min(size, limit))
    if uri.startswith("digits://"):
        from stages.ingest.digits import render_png

        parts = urlsplit(uri)
        return render_png(parts.netloc, int(parts.path[1:]), int(parse_qs(parts.query)["seed"][0]))
    with _answering(uri), open_file(uri) as file:
        return file.read() if limit is None else file.read(limit)


def open_file(uri: str) -> BinaryIO:
    """A seekable binary file for a path, a ``file://`` or a remote uri.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It cannot be opened.
        StorageError: The disk or store does not answer; reading from the file may raise it too.
    """
    path = local_path(uri)
    if path is not None:
        # Opened without waiting: a pipe that nobody writes to would block for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "rb")
    return _RemoteFile(uri)


def local_path(uri: str) -> str | None:
    """The local path behind a path or a ``file://`` uri; None where it is remote."""
    if uri.startswith("file://"):
        return unquote(urlsplit(uri).path)
    return None if _REMOTE.match(uri) else uri


def join(folder: str, name: str) -> str:
    """The uri of something below a folder.

    Args:
        folder: Local path or uri; the query of a remote one is kept.
        name: Relative POSIX name, not percent-encoded; "" gives the folder itself.

    >>> join("/data/", "a b.png"), join("s3://bucket/x?region=eu-west-1", "a b.png")
    ('/data/a b.png', 's3://bucket/x/a%20b.png?region=eu-west-1')
    """
    path = local_path(folder)
    if path is not None:
        return os.path.join(path, name) if name else path
    if not name:
        return folder
    parts = urlsplit(folder)
    return _with_path(parts, f"{parts.path.rstrip('/')}/{quote(name)}")


def parent(uri: str) -> str:
    """The folder that something lies in, without a trailing slash."""
    path = local_path(uri)
    if path is not None:
        return os.path.dirname(os.path.abspath(path))
    parts = urlsplit(uri)
    return _with_path(parts, parts.path.rstrip("/").rpartition("/")[0])


def basename(uri: str) -> str:
    """The last part of a path or uri, not percent-encoded."""
    path = local_path(uri)
    return os.path.basename(path if path is not None else unquote(urlsplit(uri).path).rstrip("/"))


def is_file(uri: str) -> bool:
    """Whether a file is there."""
    path = local_path(uri)
    return os.path.isfile(path) if path is not None else _kind(uri) == "File"


def is_folder(uri: str) -> bool:
    """Whether a folder is there; in an object store, whether anything has this prefix."""
    path = local_path(uri)
    return os.path.isdir(path) if path is not None else _kind(uri) == "Directory"


def list_folder(folder: str) -> tuple[list[str], list[str]]:
    """Names of the sub-folders and of the files directly in a folder, each in bytewise order.

    A folder that is not there has none. Broken links count as files: reading them says what is wrong.
    """
    path = local_path(folder)
    if path is None:
        entries = _remote_list(folder, recursive=False)
        return [name for name, is_dir in entries if is_dir], [name for name, is_dir in entries if not is_dir]
    if not os.path.isdir(path):
        return [], []
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(path) as found:
        for entry in found:
            (folders if _is_dir(entry) else files).append(entry.name)
    return sorted(folders, key=os.fsencode), sorted(files, key=os.fsencode)


def walk(folder: str) -> list[str]:
    """Relative POSIX names of all files below a folder, in bytewise order.

    Links to folders are followed, but never into a folder that is being walked already.
    """
    path = local_path(folder)
    if path is None:
        return [name for name, is_dir in _remote_list(folder, recursive=True) if not is_dir]
    return sorted(_walk_local(path, "", ()), key=os.fsencode)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Tell a disk or store that does not answer from a file that cannot be read.

    The second costs one image; the first must not, or a store that is away for a minute would turn every
    image of that minute into an error for good.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        local = local_path(uri) is not None
        if error.errno in _NOT_THE_FILE or not (local or any(mark in str(error) for mark in _THE_OBJECT)):
            what = " ".join((error.strerror or str(error)).split())
            raise StorageError(f"cannot read {uri}: {what}; mend it and run the same command again") from error
        raise


class _RemoteFile(io.RawIOBase, BinaryIO):
    """A file in a store, whose errors say whether the store or the file is to blame."""

    def __init__(self, uri: str) -> None:
        filesystem, path = remote(uri)
        self._uri = uri
        with _answering(uri):
            self._file = filesystem.open_input_file(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        with _answering(self._uri):
            return self._file.read(None if size is None or size < 0 else size)

    def close(self) -> None:
        self._file.close()
        super().close()


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads round in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _with_path(parts: SplitResult, path: str) -> str:
    """A remote uri with another path. (``urlunsplit`` loses the slashes of a uri without a host.)"""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{path}{query}"


def _walk_local(path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Names of the files below ``path``, each with the prefix; ``above`` are the folders on the way."""
    status = os.stat(path)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(path) as found:
        entries = list(found)
    for entry in entries:
        if _is_dir(entry):
            yield from _walk_local(entry.path, f"{prefix}{entry.name}/", (*above, here))
        else:
            yield prefix + entry.name


@lru_cache(maxsize=16)
def _filesystem(root: str) -> tuple[FileSystem, str]:
    """The file system of a bucket or host, kept because making one may ask the network for its region."""
    from pyarrow.fs import FileSystem

    parts = urlsplit(root)
    if parts.password is not None or _SECRET.search(parts.query):
        raise ConfigurationError(
            f"a uri of {parts.scheme}://{parts.hostname} carries a secret, which would end up in files and logs; "
            "give credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )
    if parts.scheme == "s3":  # Small files are written with one PUT, not with the three calls of a multipart upload.
        root += f"{'&' if parts.query else '?'}allow_delayed_open=true"
    try:
        filesystem, path = FileSystem.from_uri(root)
    except (ValueError, OSError) as error:
        raise DataError(f"cannot open {parts.scheme}://{parts.netloc}: {' '.join(str(error).split())}") from error
    return filesystem, path.rstrip("/")


def remote(uri: str) -> tuple[FileSystem, str]:
    """The file system of a remote uri and the path in it.

    Raises:
        ConfigurationError: The uri carries a secret.
        DataError: Nothing can be opened there.
    """
    parts = urlsplit(uri)
    filesystem, root = _filesystem(_with_path(parts, "/"))
    return filesystem, f"{root}{unquote(parts.path)}".rstrip("/")


def _kind(uri: str) -> str:
    filesystem, path = remote(uri)
    with _answering(uri):
        return filesystem.get_file_info(path).type.name


def _remote_list(folder: str, recursive: bool) -> list[tuple[str, bool]]:
    """(name relative to the folder, whether it is a folder), in bytewise order."""
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = remote(folder)
    with _answering(folder):
        found = filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=recursive))
    return sorted((info.path.removeprefix(path).lstrip("/"), info.type == FileType.Directory) for info in found)
