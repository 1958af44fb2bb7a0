"""A run's directory for the time of one call, which leaves no trace where no run was begun."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipeline.config.sections import Section
from pipeline.store import atomic as storage
from pipeline.store.directory import Directory
from pipeline.store.locks import CLAIMS
from stages.errors import ConfigurationError, OutputError, UserError
from stages.ingest.paths import join, local_path, parent
from stages.ingest.uris import is_folder, list_folder

D = TypeVar("D", bound=Directory[Any])

# What disks say that have no locks, such as NFS without its lock service.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def holding(kind: type[D], place: str | Path, config: Section) -> Iterator[D]:
    """Open and lock the directory of a run; what this makes there is removed unless a run was begun.

    Args:
        kind: Of a run or of a training.
        place: Local path or uri.
        config: Its configuration.

    Raises:
        ConfigurationError: The directory cannot be opened, see :meth:`Directory.open`, or another process works on
            it, or it cannot be locked and holds no complete run.
    """
    made = _absent(place)
    try:
        with ExitStack() as stack:
            before = [] if made else _names(place)
            directory = kind.open(place, config)
            try:
                stack.enter_context(directory.locked())
            except (OSError, OutputError) as error:
                # Nothing is written to one that is complete: it may lie on a read-only disk or in such a bucket.
                if not directory.complete:
                    raise _unlockable(directory, error) if isinstance(error, OSError) else error from None
            try:
                yield directory
            finally:
                if not _tidied(directory, before):
                    made = []
    finally:
        for folder in made:
            storage.remove_folder(folder)


def _unlockable(directory: Directory[Any], error: OSError) -> ConfigurationError:
    if error.errno in _NO_LOCKS:
        what = f"{directory} cannot be locked: {storage.reason(error)}; choose a folder on a disk that has locks"
        return ConfigurationError(f"--out: {what}")
    return ConfigurationError(f"--out: cannot write to {directory}: {storage.reason(error)}")


def _absent(place: str | Path) -> list[str]:
    """The run's folder and its parents, as far as they do not exist, innermost first."""
    found: list[str] = []
    try:
        folder = storage.resolve(place)
        while folder not in found and not is_folder(folder):
            found.append(folder)
            folder = parent(folder)
    except (OSError, UserError):  # Opening the run says what is wrong.
        return []
    if found and local_path(found[0]) is None:  # A bucket is never made, and withdrawn claims leave their folder.
        return [join(found[0], CLAIMS), *(one for one in found if urlsplit(one).path.strip("/"))]
    return found


def _names(place: str | Path) -> list[str]:
    """Names of the files and folders in a run's directory."""
    try:
        folders, files = list_folder(storage.resolve(place))
    except (OSError, UserError):
        return []
    return [*folders, *files]


def _tidied(directory: Directory[Any], before: list[str]) -> bool:
    """Remove what was made for a run that was not begun; False where it was, or where this cannot be known.

    Called while the directory is locked: another process may not have begun either.
    """
    try:
        if directory.begun:
            return False
        for name in _names(directory.uri):
            if name in before or not directory.is_own(name):
                continue
            uri = directory.where(name)
            if is_folder(uri):
                storage.remove_folder(uri)
            else:
                storage.remove(uri)
    except (OSError, UserError):
        return False
    return True
