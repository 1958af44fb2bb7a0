"""Images that cannot be read, told apart from data that cannot be reached: a disk that is unmounted or broken, a
renamed folder, one without the permission to read it.

The first cost an image each, for good. The second must cost none, so before a shard with such images is committed, a
look at others of the dataset decides.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.store.directory import Directory
from stages.batch import Failure, ImageError
from stages.errors import StorageError
from stages.ingest.outage import answering
from stages.ingest.paths import archive_of, local_path
from stages.ingest.uris import list_folder, open_file

SIBLINGS = 64
"""Number of other images, of the dataset or of a folder, that are tried."""
_UNREAD = ("Missing", "Unreadable")
_OF_DISKS = {errno.EIO, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENXIO}
"""Errors that one file may have alone, as with a bad sector, or a disk with all that is on it."""
_PIECE = 2**20


def check_reachable(run: Directory[Any], errors: Iterable[Failure]) -> None:
    """Check that the data of a shard could be reached when some of its images could not be read.

    Args:
        run: The run, whose manifest names the other images.
        errors: (image_id, uri, error) of the shard's images that failed.

    Raises:
        StorageError: None of the other images that were tried can be read either, and nothing is where they should be,
            or what is there cannot be read; or an image that could not be read can be read now.
    """
    unread = {uri: error for _, uri, error in errors if error.stage == "decode" and error.code in _UNREAD}
    failures = {uri: _failure(uri, whole=_by_system(error)) for uri, error in unread.items()}
    missing = [uri for uri, failure in failures.items() if isinstance(failure, FileNotFoundError)]
    barred = [uri for uri, failure in failures.items() if _is_of_disk(failure)]
    if missing or barred:
        uris = pq.read_table(run.manifest, columns=["uri"])["uri"]
        others = _spread(uris, failures)
        if missing and not any(_failure(one) is None for one in others) and not _is_populated(missing[0]):
            raise _away(missing[0], failures, others)
        # A folder may be a disk of its own, which fails while others answer.
        for uri in {_home(one): one for one in barred}.values():
            siblings = _spread(_beside(uris, uri), [uri]) or others
            if siblings and all(_is_of_disk(failures.get(one) or _failure(one)) for one in siblings):
                raise _away(uri, failures, siblings)
    for uri, error in unread.items():
        if failures[uri] is None and error.code == "Missing":
            raise StorageError(f"{uri} was missing and is there now; run the same command again once the data stay")
        if failures[uri] is None and _by_system(error):
            raise StorageError(f"{uri} could not be read and can be now ({error.message}); run the same command again")


def _by_system(error: ImageError) -> bool:
    """Whether the file could not be read, rather than decoded."""
    return error.message.startswith("[Errno ")


def _is_of_disk(failure: OSError | None) -> bool:
    return failure is not None and failure.errno in _OF_DISKS


def _away(uri: str, failures: Mapping[str, OSError | None], others: Sequence[str]) -> StorageError:
    failure = failures[uri]
    what = (failure and failure.strerror) or "no such file"
    return StorageError(
        f"cannot read {uri}: {what}; nor can any of {len(others)} others, so the data are away, not these images: "
        "restore them, or access to them, and run the same command again"
    )


def _spread(uris: pa.ChunkedArray, known: Collection[str]) -> list[str]:
    """Some of the uris, spread over all of them, other than the known ones."""
    rows = np.unique(np.linspace(0, len(uris) - 1, SIBLINGS + len(known)).astype(np.int64))
    return [uri for uri in uris.take(rows).to_pylist() if uri not in known][:SIBLINGS]


def _beside(uris: pa.ChunkedArray, uri: str) -> pa.ChunkedArray:
    """Those in an image's folder and below, or in its archive."""
    if archive_of(uri) != uri:
        return pa.chunked_array([[one for one in uris.to_pylist() if _home(one) == _home(uri)]], pa.string())
    return uris.filter(pc.starts_with(uris, f"{_home(uri)}/"))


def _failure(uri: str, whole: bool = False) -> OSError | None:
    """Why an image's first byte, or the whole of it, cannot be read; None where it can."""
    try:
        with answering(uri), open_file(uri) as file:
            while file.read(_PIECE if whole else 1) and whole:
                pass
    except StorageError:
        raise
    except OSError as error:
        return error
    return None


def _is_populated(uri: str) -> bool:
    """Whether the folder of an image is there and holds anything."""
    path = local_path(uri)
    try:
        return path is not None and any(list_folder(_folder(path) or "/"))
    except OSError:
        return False


def _home(uri: str) -> str:
    """The archive or folder that an image is in."""
    archive = archive_of(uri)
    return _folder(uri) if archive == uri else archive


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]
