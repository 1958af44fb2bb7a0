"""Detection of a disk or store that does not answer, as opposed to a file that cannot be read."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stages.errors import StorageError
from stages.ingest.paths import local_path

# Errors of a machine, a network or a mount, which say nothing about the file that was asked for.
_NOT_THE_FILE = frozenset(
    getattr(errno, name)
    for name in (
        *(
            "EMFILE",
            "ENFILE",
            "ENOMEM",
            "EAGAIN",
            "EBUSY",
            "EREMOTEIO",
            "ESTALE",
            "ENOTCONN",
            "ETIMEDOUT",
            "EHOSTDOWN",
            "EHOSTUNREACH",
        ),
        *("ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED"),
    )
    if hasattr(errno, name)
)
# Errors of stores about one object: it is a folder, or it is archived.
_THE_OBJECT = ("Not a regular file", "INVALID_OBJECT_STATE", "InvalidObjectState")


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn the error of a disk or store that does not answer into a StorageError.

    A file that cannot be read costs one image. An outage must not, or a store that is down for a minute would
    permanently turn every image of that minute into an error.

    Args:
        uri: Local path or uri of the file that is read in the ``with`` block.

    Raises:
        StorageError: The disk or store does not answer.
        OSError: Whatever else the block raised.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        local = local_path(uri) is not None
        if error.errno in _NOT_THE_FILE or not (local or any(mark in str(error) for mark in _THE_OBJECT)):
            what = " ".join((error.strerror or str(error)).split())
            raise StorageError(f"cannot read {uri}: {what}; fix it and run the same command again") from error
        raise
