"""Files and folders of this machine, by path or ``file://`` uri."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from stages.ingest.outage import answering
from stages.ingest.paths import local_path


def read_bytes(uri: str, limit: int | None) -> bytes:
    """Implement :func:`stages.ingest.uris.read_bytes` for local files."""
    with answering(uri), open_file(uri) as file:
        return file.read() if limit is None else file.read(limit)


def open_file(uri: str) -> BinaryIO:
    """Implement :func:`stages.ingest.uris.open_file` for local files."""
    path = _path(uri)
    # Opened without blocking: a pipe without a writer would block forever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return os.fdopen(descriptor, "rb")


def is_file(uri: str) -> bool:
    """Implement :func:`stages.ingest.uris.is_file` for local files."""
    return os.path.isfile(_path(uri))


def is_folder(uri: str) -> bool:
    """Implement :func:`stages.ingest.uris.is_folder` for local folders."""
    return os.path.isdir(_path(uri))


def list_folder(uri: str) -> tuple[list[str], list[str]]:
    """Implement :func:`stages.ingest.uris.list_folder` for local folders."""
    path = _path(uri)
    if not os.path.isdir(path):
        return [], []
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(path) as found:
        for entry in found:
            (folders if _is_dir(entry) else files).append(entry.name)
    return sorted(folders, key=os.fsencode), sorted(files, key=os.fsencode)


def walk(uri: str) -> list[str]:
    """Implement :func:`stages.ingest.uris.walk` for local folders."""
    return sorted(_walk(_path(uri), "", ()), key=os.fsencode)


def _path(uri: str) -> str:
    path = local_path(uri)
    assert path is not None, uri
    return path


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that forms a cycle is neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk(path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Names of the files below ``path``, each with the prefix; ``above`` holds the parent folders."""
    try:
        status = os.stat(path)
        with os.scandir(path) as found:
            entries = list(found)
    except PermissionError:
        if not above:
            raise
        yield prefix
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if _is_dir(entry):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
        else:
            yield prefix + entry.name
