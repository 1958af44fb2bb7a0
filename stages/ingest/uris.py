"""Access to the bytes of an image by uri: a table with one row per kind of uri.

A uri is one of

* a local path, or ``file://`` with a percent-encoded path;
* ``s3://``, ``gs://`` or another store of :data:`SCHEMES`, percent-encoded, options in the query;
* ``tar:ARCHIVE?offset=N&size=M#MEMBER``: the bytes of one member of a tar, where ARCHIVE is one of the above,
  percent-encoded (:mod:`stages.ingest.tar` makes these, with ``&gzip=1`` for a gzipped one);
* ``parquet:ARCHIVE?column=NAME&group=G&row=N``: the bytes in one row of a table (:mod:`stages.ingest.parquet`);
* ``digits://SPLIT/INDEX?seed=N``: a canvas of the demo, rendered when it is read.

Functions that need only a uri's text are in :mod:`stages.ingest.paths`.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any, BinaryIO

from stages.errors import ConfigurationError, unknown
from stages.ingest.outage import answering

SCHEMES = {
    "abfs://": "remote",
    "abfss://": "remote",
    "digits://": "digits",
    "file://": "local",
    "gcs://": "remote",
    "gs://": "remote",
    "hdfs://": "remote",
    "parquet:": "parquet",
    "s3://": "remote",
    "tar:": "tar",
    "viewfs://": "remote",
}
"""The module of this package with ``read_bytes(uri, limit)`` for each kind of uri, imported when it is used.

A module for files and folders also has the other functions of this file. A uri that begins with none of these
is a local path, unless ``://`` follows its first word.
"""

MAX_FILE = 1 << 30
"""Most bytes of an encoded image."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(//)?", re.IGNORECASE)


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """The encoded image at a uri, or at most its first ``limit`` bytes.

    A rendered image is returned whole, whatever the limit.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It cannot be read.
        StorageError: The disk or store does not answer.
        UserError: A package that the uri needs is not installed, or its scheme is unknown.
    """
    data: bytes = _function("read_bytes", uri)(uri, limit)
    return data


def read_file(uri: str) -> bytes:
    """The whole of what is at a uri, unless it has more than :data:`MAX_FILE` bytes, of which none is read then.

    Raises:
        OSError: It has more, or as for :func:`read_bytes`.
    """
    with answering(uri), open_file(uri) as file:
        size = file.seek(0, os.SEEK_END)
        if size <= MAX_FILE:
            file.seek(0)
            return file.read()
    raise OSError(f"a file of {size:,} bytes, over the limit of {MAX_FILE:,}")


def open_file(uri: str) -> BinaryIO:
    """A seekable binary file for any uri but that of a folder.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It cannot be opened.
        StorageError: The disk or store does not answer; reading from the file may raise it too.
        UserError: The scheme is unknown.
    """
    file: BinaryIO = _function("open_file", uri)(uri)
    return file


def is_file(uri: str) -> bool:
    """Whether a file is there.

    Raises:
        StorageError: The store does not answer.
        UserError: The scheme is unknown.
    """
    return bool(_function("is_file", uri)(uri))


def is_folder(uri: str) -> bool:
    """Whether a folder is there; in an object store, whether anything has this prefix.

    Raises:
        StorageError: The store does not answer.
        UserError: The scheme is unknown.
    """
    return bool(_function("is_folder", uri)(uri))


def list_folder(folder: str) -> tuple[list[str], list[str]]:
    """Names of the sub-folders and of the files directly in a folder, each in bytewise order.

    A missing folder has none. Broken links count as files, and reading them fails.

    Raises:
        StorageError: The store does not answer.
        UserError: The scheme is unknown.
    """
    folders, files = _function("list_folder", folder)(folder)
    return folders, files


def walk(folder: str) -> list[str]:
    """Relative POSIX names of all files below a folder, in bytewise order.

    Links to folders are followed, but never into a folder that is being walked already. A folder below that may
    not be read is named itself, with a slash at the end.

    Raises:
        StorageError: The store does not answer.
        UserError: The scheme is unknown.
    """
    names: list[str] = _function("walk", folder)(folder)
    return names


def _function(name: str, uri: str) -> Any:
    """The function of the given name in the module that reads a uri."""
    found = _SCHEME.match(uri)
    prefix = found[0].lower() if found else ""
    if prefix not in SCHEMES and prefix.endswith("//"):
        raise ConfigurationError(f"{uri}: {unknown('kind of uri', prefix, list(SCHEMES))}")
    module = import_module(f"stages.ingest.{SCHEMES.get(prefix, 'local')}")
    if not hasattr(module, name):
        raise ConfigurationError(f"{uri}: {prefix} leads to single images, not to files and folders")
    return getattr(module, name)
