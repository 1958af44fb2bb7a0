"""Images that cannot be read, told apart from data that cannot be reached: an unmounted disk, a renamed folder.

The first cost an image each, for good. The second must cost none, so before a shard with such images is committed, a
look at others of the dataset decides.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow.parquet as pq

from pipeline.store.rundir import RunDir
from stages.batch import ImageError
from stages.errors import StorageError
from stages.ingest.paths import local_path
from stages.ingest.uris import list_folder, read_bytes

SIBLINGS = 64
"""Number of the dataset's other images that are tried."""
_UNREAD = ("Missing", "Unreadable")


def check_reachable(run: RunDir, errors: Iterable[tuple[int, str, ImageError]]) -> None:
    """Check that the data of a shard could be reached when some of its images could not be read.

    Args:
        run: The run, whose manifest names the other images.
        errors: (image_id, uri, error) of the shard's images that failed.

    Raises:
        StorageError: None of the other images that were tried can be read either, and nothing is where they should be;
            or an image that was missing is there now.
    """
    unread = [(uri, error.code) for _, uri, error in errors if error.stage == "decode" and error.code in _UNREAD]
    missing = [(uri, code) for uri, code in unread if code == "Missing" or _failure(uri)]
    if not missing:
        return
    uri = missing[0][0]
    others = _others(run, {uri for uri, _ in missing})
    if not any(_failure(other) is None for other in others) and not _is_populated(uri):
        raise StorageError(
            f"cannot read {uri}: {_failure(uri)}; nor can any of {len(others)} others, so the data are away, not these "
            "images: mount or restore them and run the same command again"
        )
    for uri, code in missing:
        if code == "Missing" and _failure(uri) is None:
            raise StorageError(f"{uri} was missing and is there now; run the same command again once the data stay")


def _others(run: RunDir, known: set[str]) -> list[str]:
    """Uris of images spread over the dataset, other than the known ones."""
    uris = pq.read_table(run.manifest, columns=["uri"])["uri"]
    rows = np.unique(np.linspace(0, len(uris) - 1, SIBLINGS + len(known)).astype(np.int64))
    return [uri for uri in uris.take(rows).to_pylist() if uri not in known][:SIBLINGS]


def _failure(uri: str) -> str | None:
    """Why the first byte of an image cannot be read, in a few words; None where it can."""
    try:
        read_bytes(uri, 1)
    except StorageError:
        raise
    except OSError as error:
        return error.strerror or "no such file"
    return None


def _is_populated(uri: str) -> bool:
    """Whether the folder of an image is there and holds anything."""
    path = local_path(uri)
    try:
        return path is not None and any(list_folder(path.rpartition("/")[0] or "/"))
    except OSError:
        return False
