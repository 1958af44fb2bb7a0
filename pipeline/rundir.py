"""One run's directory: opened or refused, committed shard by shard, resumed by listing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from pipeline.config import Config, differing_keys
from pipeline.schema import ERRORS, PREDICTIONS
from stages.errors import ConfigurationError, DataError, OutputError

# What a run that never came to its manifest may have left.
_OWN = {"predictions", "errors", "coco", "report", "config.yaml", "run.json", ".lock"}
_PART = re.compile(r"part-(\d{6,})\.parquet")


class RunDir:
    """The files of one run. Every file appears whole or not at all.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.parquet"

    @classmethod
    def open(cls, path: Path, config: Config) -> RunDir:
        """Create the directory of a run, or take up the one that stands there.

        Raises:
            ConfigurationError: It belongs to another configuration, holds something else than a run, or
                cannot be written.
        """
        run = cls(path)
        if "://" in str(path) or ":/" in str(path):
            raise ConfigurationError(f"--out: {path} is no local path; runs are written to local disks so far")
        try:
            if run.manifest.is_file():
                keys = differing_keys(_parse(path / "config.yaml"), config.model_dump())
                if keys:
                    raise ConfigurationError(
                        f"{path} holds a run of another configuration (it differs in {', '.join(keys)}); "
                        "choose another --out"
                    )
            elif path.exists() and not all(_is_own(one.name) for one in path.iterdir()):
                raise ConfigurationError(f"{path} is not empty and holds no run; choose another --out")
            for name in ("predictions", "errors", "coco", "report"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--out: cannot write to {path}: {error.strerror}") from None
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes away from the run; a dead process keeps nobody away.

        Raises:
            ConfigurationError: Another process works on it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise ConfigurationError(f"{self.path}: another process works on this run; wait for it") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def complete(self) -> bool:
        """Whether every image of the manifest is accounted for and all results are written."""
        return (self.path / "_SUCCESS").is_file()

    def reopen(self) -> None:
        """Take back that the run is complete, since a file of it was removed."""
        (self.path / "_SUCCESS").unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """How far the run is.

        Raises:
            DataError: There is no run, or it has not come to its first image.
        """
        info = self.read_json("run.json")
        done = sum(file.num_rows for file in self.errors())
        failed = done
        for part in self.predictions(["image_id"]):
            done += len(part["image_id"].unique())
        return {"images": info["images"], "done": done, "failed": failed, "complete": self.complete}

    def write(self, name: str, data: bytes) -> None:
        """Write one file: temporary name in the same folder, fsync, rename.

        Raises:
            OutputError: The disk is full or the folder cannot be written; no partial file stays behind.
        """
        target = self.path / name
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
        except OSError as error:
            raise OutputError(
                f"cannot write {target}: {error.strerror}; mend it and run the same command again, "
                "what is committed stays"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON for people: indented, with a final newline."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run.

        Raises:
            DataError: The run has no such file.
        """
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{self.path} has no {name}: no run was begun there, or it has not come so far") from None
        except ValueError:
            value = None
        if not isinstance(value, dict) or not value:
            raise DataError(f"{self.path / name} is damaged; restore it or choose another --out")
        return value

    def commit(self, shard: int, predictions: pa.Table, errors: pa.Table) -> None:
        """Store a finished shard. The predictions' file is the commit, so the errors go first."""
        name = f"part-{shard:06d}.parquet"
        if errors.num_rows:
            self.write(f"errors/{name}", encode(errors))
        self.write(f"predictions/{name}", encode(predictions))

    def committed(self) -> set[int]:
        """Indices of the finished shards."""
        return {shard for shard, _ in self._parts("predictions")}

    def predictions(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The committed predictions, shard by shard in order; all columns or those named."""
        yield from (_read(path, columns or PREDICTIONS.names) for _, path in self._parts("predictions"))

    def errors(self) -> Iterator[pa.Table]:
        """The errors of the committed shards, in order."""
        done = self.committed()
        yield from (_read(path, ERRORS.names) for shard, path in self._parts("errors") if shard in done)

    def clean(self) -> None:
        """Remove what killed writers left under temporary names."""
        for stale in self.path.rglob(".*.tmp"):
            stale.unlink(missing_ok=True)

    def _parts(self, kind: str) -> list[tuple[int, Path]]:
        folder = self.path / kind
        named = ((_PART.fullmatch(path.name), path) for path in folder.iterdir()) if folder.is_dir() else ()
        return sorted((int(match[1]), path) for match, path in named if match)


def _is_own(name: str) -> bool:
    """Whether a run may have left it: one of its files, or the temporary file of a killed writer."""
    return name in _OWN or (name.startswith(".") and name.endswith(".tmp"))


def _parse(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        tree = None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path} is damaged; restore it or choose another --out")
    return tree


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """A table as the bytes of a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_size)
    return sink.getvalue().to_pybytes()


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        table = pq.read_table(path, columns=columns)
        if table.column_names == columns:
            return table
        reason = "it lacks columns"
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
    raise DataError(f"{path} is damaged ({reason}); delete it and run the same command again")
