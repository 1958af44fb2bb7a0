"""A training's directory: the features of its images, checkpoints, and what comes of them."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.training import TrainConfig
from pipeline.store import atomic as storage
from pipeline.store.directory import MANIFEST_FILE, Directory
from pipeline.store.info import RunInfo
from pipeline.store.manifest import ROW_GROUP, to_table
from pipeline.store.rundir import encode, part_name
from pipeline.store.schema import CURVES, ERRORS
from pipeline.store.seal import SealError, read_sealed, seal
from pipeline.store.tables import error_table
from stages.batch import ImageError
from stages.errors import ConfigurationError, DataError
from stages.ingest.records import ImageRecord
from stages.ingest.uris import list_folder
from stages.train.head import Curve, State

Failure = tuple[int, str, ImageError]

log = logging.getLogger("wsl_pipeline")

MODEL_FILE = "model.pt"
_CHECKPOINT = re.compile(r"epoch-(\d{4,})\.pt")
_KEPT = 2
"""Number of the last checkpoints that are kept, beside the best."""
_SHAPE = b"wsl_pipeline.shape"


class TrainDir(Directory[TrainConfig]):
    """The files of one training."""

    kind = TrainConfig
    folders = ("features", "errors", "checkpoints", "report")

    def commit(self, info: RunInfo, part: int, ids: np.ndarray, features: np.ndarray, errors: list[Failure]) -> None:
        """Store the features of a part's images, and why others have none.

        Args:
            info: The training's ``run.json``.
            part: Number of the part.
            ids: (n,) ids of the images.
            features: (n, K, h, w) float32.
            errors: (id, uri, error) of the images that failed.
        """
        name, facts = part_name(part), self._facts(info, part)
        if errors:
            self.write(f"errors/{name}", seal(error_table(errors), facts))
        flat = pa.array(np.ascontiguousarray(features, np.float32).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(flat, max(int(np.prod(features.shape[1:])), 1))
        table = pa.table({"image_id": ids, "features": values})
        table = table.replace_schema_metadata({_SHAPE: ",".join(map(str, features.shape[1:]))})
        self.write(f"features/{name}", seal(table, facts))

    def committed(self, info: RunInfo, parts: int) -> set[int]:
        """Numbers of the parts whose features are stored; damaged ones are set aside as ``*.bad``."""
        found = set()
        for part in range(parts):
            uri = self.where(f"features/{part_name(part)}")
            if self.exists(f"features/{part_name(part)}"):
                try:
                    read_sealed(uri, ["image_id"], self._facts(info, part))
                except SealError as error:
                    log.warning("%s; it is set aside as *.bad, and computed again", error)
                    storage.set_aside(uri)
                else:
                    found.add(part)
        return found

    def features(self, info: RunInfo, parts: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids (n,) and features (n, K, h, w) of the images of each part.

        Raises:
            SealError: A part is damaged.
            StorageError: It cannot be read.
        """
        for part in range(parts):
            table = read_sealed(
                self.where(f"features/{part_name(part)}"), ["image_id", "features"], self._facts(info, part)
            )
            shape = tuple(map(int, (table.schema.metadata[_SHAPE]).decode().split(",")))
            values = table["features"].combine_chunks().flatten().to_numpy()
            yield table["image_id"].to_numpy(), values.reshape(-1, *shape)

    def remove_features(self) -> None:
        """Remove the stored features, which the model replaces: an image may have a quarter of a megabyte."""
        for name in list_folder(self.where("features"))[1]:
            storage.remove(self.where(f"features/{name}"))
        storage.remove_folder(self.where("features"))

    def failed(self) -> int:
        """Number of images without features."""
        files = [name for name in list_folder(self.where("errors"))[1] if name.startswith("part-")]
        columns = [ERRORS.names[0]]
        return sum(read_sealed(self.where(f"errors/{name}"), columns, None).num_rows for name in files)

    def write_manifest(self, data: bytes) -> None:
        """Begin: where the manifest exists, so do the other files."""
        self.write(MANIFEST_FILE, data)

    def save(self, state: State, origin: str) -> None:
        """Store a checkpoint, and remove those that are neither among the last nor the best."""
        self.write(_checkpoint(state.epoch), state.to_bytes(origin))
        kept = {*range(state.epoch - _KEPT + 1, state.epoch + 1), state.best}
        for epoch in self._epochs():
            if epoch not in kept:
                storage.remove(self.where(_checkpoint(epoch)))

    def last_state(self, origin: str) -> tuple[State | None, State | None]:
        """The latest checkpoint and the best one; None twice where there is no whole pair of them.

        Raises:
            ConfigurationError: A checkpoint belongs to another training.
        """
        for epoch in sorted(self._epochs(), reverse=True):
            state = self._state(epoch, origin)
            best = self._state(state.best, origin) if state else None
            if state and best:
                return state, best
        return None, None

    def _state(self, epoch: int, origin: str) -> State | None:
        name = _checkpoint(epoch)
        if not self.exists(name):
            return None
        try:
            found, state = State.of_bytes(self.read(name))
        except ValueError as error:
            log.warning("%s is damaged (%s); it is set aside as *.bad", self.where(name), error)
            storage.set_aside(self.where(name))
            return None
        if found != origin:
            raise ConfigurationError(f"{self.where(name)} is a checkpoint of another training; remove it")
        return state

    def _epochs(self) -> list[int]:
        names = list_folder(self.where("checkpoints"))[1]
        return [int(match[1]) for match in map(_CHECKPOINT.fullmatch, names) if match]

    def write_curves(self, curves: list[Curve]) -> None:
        """Store ``curves.parquet``."""
        columns = zip(*curves, strict=True)
        self.write("curves.parquet", encode(pa.table(dict(zip(CURVES.names, columns, strict=True)), schema=CURVES)))

    def clean(self) -> None:
        """Remove the temporary files of killed writers."""
        for name in ("", *self.folders):
            storage.clean(self.where(name) if name else self.uri)

    def _facts(self, info: RunInfo, part: int) -> dict[str, str]:
        return {"wsl_pipeline.origin": hashlib.sha256(f"{info.origin()} features {part}".encode()).hexdigest()}


def manifest_bytes(records: list[ImageRecord], splits: list[str]) -> bytes:
    """The manifest of a training: that of a run, and the split of each image.

    Raises:
        DataError: A number in the annotations is out of range.
    """
    try:
        table = to_table(records)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(f"data: a number in the annotations is out of range: {error}") from None
    return encode(table.append_column("split", pa.array(splits, pa.string())), ROW_GROUP)


def read_splits(directory: TrainDir) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Ids (n,), splits (n,) and classes of the images of a training."""
    table = pq.read_table(directory.manifest, columns=["image_id", "split", "labels"])
    splits = np.array(table["split"].to_pylist())
    return table["image_id"].to_numpy(), splits, table["labels"].to_pylist()


def _checkpoint(epoch: int) -> str:
    return f"checkpoints/epoch-{epoch:04}.pt"
