"""Atomic writes of a run's files, on a disk or in an object store."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from urllib.parse import urlsplit

from stages.errors import ConfigurationError, OutputError, UserError
from stages.ingest.paths import check_no_secret, local_path
from stages.ingest.remote import remote
from stages.ingest.uris import list_folder

_IN_MEMORY = 1 << 26  # Bytes of a file to buffer in memory before an upload; longer files go to disk.
_PIECE = 1 << 23
_TEMPORARY = re.compile(r"\..+\.\d+\.wsl-pipeline-tmp")  # A tag of our own: a user's .tmp files are not ours.
# Stores in which an object appears only once it is complete. HDFS and others show half-written files.
_WHOLE = ("s3", "gs", "gcs", "abfs", "abfss")


def resolve(place: str | Path) -> str:
    """A run's directory in a form that is independent of the working directory.

    Raises:
        ConfigurationError: It is neither a path nor a uri, or the store does not write files atomically.
    """
    text = os.fspath(place)
    check_no_secret(text)
    if re.search("[\\0\\ud800-\\udc7f\\udd00-\\udfff]", text):  # The others stand for bytes of file names.
        raise ConfigurationError(f"{text} is neither a local path nor a uri: no file can be called so")
    try:
        path, scheme = local_path(text), urlsplit(text).scheme
    except ValueError as error:  # Such as brackets that are not an IPv6 address.
        raise ConfigurationError(f"{text} is neither a local path nor a uri: {error}") from None
    if path is not None:
        if ":/" in text.removeprefix("file:/"):
            raise ConfigurationError(f"{text} is neither a local path nor a uri such as s3://BUCKET/RUN")
        return str(Path(path).resolve())
    if scheme not in _WHOLE:
        raise ConfigurationError(f"{text}: runs are written to local paths, {'://, '.join(_WHOLE)}://")
    return text


def write(uri: str, chunks: Iterable[bytes]) -> None:
    """Write one file piece by piece, atomically.

    Locally: temporary name in the same folder, fsync, rename. In an object store: one PUT (one multipart
    upload where the data are large), which the store shows when it is complete.

    Raises:
        OutputError: The disk is full, the folder cannot be written or the store does not take it; no partial
            file remains.
    """
    path = local_path(uri)
    try:
        if path is None:
            _upload(uri, chunks)
        else:
            _write_local(Path(path), chunks)
    except OSError as error:
        raise OutputError(
            f"cannot write {uri}: {reason(error)}; fix it and run the same command again; committed shards are kept"
        ) from None


def make_folder(uri: str) -> None:
    """Create a folder and its parents; a bucket is never created."""
    path = local_path(uri)
    if path is not None:
        Path(path).mkdir(parents=True, exist_ok=True)
    else:
        filesystem, key = remote(uri)
        filesystem.create_dir(key, recursive=True)


def remove(uri: str) -> None:
    """Remove a file if it is there.

    Raises:
        OutputError: It cannot be removed.
    """
    path = local_path(uri)
    try:
        if path is not None:
            os.unlink(path)
        else:
            filesystem, key = remote(uri)
            filesystem.delete_file(key)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"cannot remove {uri}: {reason(error)}; fix it and run the same command again") from None


def remove_folder(uri: str) -> None:
    """Remove a folder if it is there and empty."""
    path = local_path(uri)
    with suppress(OSError, UserError):
        if path is not None:
            os.rmdir(path)
        elif list_folder(uri) == ([], []):
            filesystem, key = remote(uri)
            filesystem.delete_dir(key)


def set_aside(uri: str) -> None:
    """Rename a file to ``*.bad``, in the place of one that was set aside before.

    Raises:
        OutputError: It cannot be renamed.
    """
    path = local_path(uri)
    try:
        if path is not None:
            os.replace(path, f"{path}.bad")
        else:
            filesystem, key = remote(uri)
            filesystem.move(key, f"{key}.bad")
    except OSError as error:
        raise OutputError(f"cannot rename {uri}: {reason(error)}; fix it and run the same command again") from None


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a temporary file that :func:`write` makes.

    >>> is_temporary(".run.json.4711.wsl-pipeline-tmp"), is_temporary(".mine.tmp")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


def clean(uri: str) -> None:
    """Remove the temporary files of killed writers from a folder, not from those in it; object stores have none."""
    path = local_path(uri)
    if path is not None:
        for stale in filter(lambda one: is_temporary(one.name), Path(path).glob(".*")):
            stale.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """The reason for a failure, in one line."""
    return error.strerror or " ".join(str(error).split())


def _upload(uri: str, chunks: Iterable[bytes]) -> None:
    """Store an object once it is complete: closing a stream, even after an error, would publish half of it."""
    with SpooledTemporaryFile(_IN_MEMORY) as whole:
        for chunk in chunks:
            whole.write(chunk)
        whole.seek(0)
        filesystem, key = remote(uri)

        def copy() -> None:
            with filesystem.open_output_stream(key) as stream:
                shutil.copyfileobj(whole, stream, _PIECE)

        # In a thread, because Ctrl-C is raised in the main thread only.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(copy).result()


def _write_local(target: Path, chunks: Iterable[bytes]) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.wsl-pipeline-tmp")
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
