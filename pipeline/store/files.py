"""Files of a run by name, each written atomically; what they mean is the business of :mod:`pipeline.store.rundir`."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.store import atomic as storage
from pipeline.store.locks import locked
from stages.errors import ConfigurationError, DataError
from stages.ingest.paths import join, local_path
from stages.ingest.uris import is_file, read_bytes

_NEEDED: dict[str, dict[str, type]] = {
    "coco/ground_truth.json": {"categories": list},
    "metrics.json": {"protocol_fingerprint": str, "n_images": int, "methods": dict},
}
"""Fields, by file, that every file written by a run has."""


class Files:
    """A folder on a disk or in an object store.

    Args:
        place: Local path or uri.

    Attributes:
        uri: Local path or uri, independent of the working directory.
        written: SHA-256, in hex, of the files that this object has written, by name.
    """

    def __init__(self, place: str | Path) -> None:
        self.uri = storage.resolve(place)
        self.written: dict[str, str] = {}

    def __str__(self) -> str:
        return self.uri

    @property
    def path(self) -> Path:
        """The folder of a run on a disk, for code that needs a local path.

        Raises:
            ConfigurationError: The run is in an object store.
        """
        if local_path(self.uri) is None:
            raise ConfigurationError(f"{self}: this needs a run on a local disk; copy it to one")
        return Path(self.uri)

    def where(self, name: str) -> str:
        """Local path or uri of a file of the run."""
        return join(self.uri, name)

    def exists(self, name: str) -> bool:
        """Whether the run has a file of that name."""
        return is_file(self.where(name))

    def read(self, name: str) -> bytes:
        """The content of a file of the run.

        Raises:
            DataError: The run has no such file, or the store does not answer.
        """
        try:
            return read_bytes(self.where(name))
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError) and error.errno != errno.ENAMETOOLONG:
                raise
            raise DataError(f"{self} has no {name}: no run was begun there, or it has not got that far") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other processes; the lock does not outlive a dead process.

        Raises:
            ConfigurationError: Another process works on it.
        """
        with locked(self.uri):
            yield

    def write(self, name: str, data: bytes) -> None:
        """Write one file atomically.

        Raises:
            OutputError: The disk is full, the folder cannot be written or the store does not take it.
        """
        self.stream(name, [data])

    def stream(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write one file piece by piece, atomically like :meth:`write`.

        Raises:
            OutputError: The file cannot be written, as in :meth:`write`.
        """
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        storage.write(self.where(name), hashed())
        self.written[name] = digest.hexdigest()

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON for people: indented, with a final newline."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run.

        Raises:
            DataError: The run has no such file.
        """
        try:
            value = json.loads(self.read(name))
        except ValueError:
            value = None
        needed = _NEEDED.get(name, {})
        if (
            not value
            or not isinstance(value, dict)
            or any(not isinstance(value.get(key), kind) for key, kind in needed.items())
        ):
            way_out = ", or remove it and run the command of its run again" if needed else " or choose another --out"
            raise DataError(f"{self.where(name)} is damaged; restore it{way_out}")
        return value
