"""A training's directory: the features of its images, checkpoints, and what comes of them."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.training import TrainConfig
from pipeline.store import atomic as storage
from pipeline.store.directory import Directory
from pipeline.store.info import RunInfo
from pipeline.store.manifest import ROW_GROUP, Shard, cut_into_shards, to_table
from pipeline.store.rundir import FAILED, encode, part_name
from pipeline.store.schema import CURVES, TESTED
from pipeline.store.seal import SealError, read_sealed, seal
from pipeline.store.tables import MACHINE, error_table
from stages.batch import Failure
from stages.errors import DataError
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.uris import is_file, list_folder, read_bytes

log = logging.getLogger("wsl_pipeline")

MODEL_FILE = "model.pt"
PREDICTIONS_FILE = "predictions.parquet"
_FEATURES = "features"
_CHECKPOINT = re.compile(r"epoch-(\d{4,})\.pt")
_KEPT = 2
"""Number of the last checkpoints that are kept, beside the best."""
_SHAPE = "wsl_pipeline.shape"


class TrainDir(Directory[TrainConfig]):
    """The files of one training.

    Attributes:
        shared: Local path or uri of a folder in which trainings of one trunk share features; None where this one has
            its own.
    """

    shared: str | None = None

    kind = TrainConfig
    of = "training"
    folders = ("errors", "checkpoints", "report")
    own = Directory.own | {_FEATURES}

    def commit(
        self, info: RunInfo, part: int, ids: np.ndarray, features: np.ndarray, errors: list[Failure], machine: str
    ) -> None:
        """Store the features of a part's images; their file is the commit, so the errors are written first.

        Args:
            info: The training's ``run.json``.
            part: Number of the part.
            ids: (n,) ids of the images.
            features: (n, K, h, w) float32.
            errors: Images that failed.
            machine: Kind of machine that ran the network.
        """
        name, facts = part_name(part), self._facts(info, part)
        if errors:
            self.write(f"errors/{name}", sealed := seal(error_table(errors), facts))
            if self.shared:
                storage.write(join(self._features(info), f"errors-{name}"), [sealed])
        else:  # An earlier attempt may have left some.
            storage.remove(self.where(f"errors/{name}"))
        flat = pa.array(np.ascontiguousarray(features, np.float32).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(flat, max(int(np.prod(features.shape[1:])), 1))
        table = pa.table({"image_id": ids, "features": values})
        table = table.replace_schema_metadata({_SHAPE: ",".join(map(str, features.shape[1:]))})
        own = {FAILED: str(len(errors)), MACHINE.decode(): machine}
        storage.write(join(self._features(info), name), [seal(table, self._feature_facts(info, part) | own)])

    def committed(self, info: RunInfo) -> set[int]:
        """Numbers of the parts whose features are stored; damaged ones are set aside as ``*.bad``."""
        storage.make_folder(self._features(info))
        found = set()
        for part in _parts(info):
            uri = join(self._features(info), part_name(part.index))
            if is_file(uri):
                try:
                    table = read_sealed(uri, ["image_id"], self._feature_facts(info, part.index))
                except SealError as error:
                    log.warning("%s; it is set aside as *.bad, and computed again", error)
                    storage.set_aside(uri)
                else:
                    self._take_errors(info, part_name(part.index))
                    self.machines[part.index] = table.schema.metadata[MACHINE].decode()
                    found.add(part.index)
        return found

    def _take_errors(self, info: RunInfo, name: str) -> None:
        """Store the errors of a part that another training computed."""
        uri = join(self._features(info), f"errors-{name}")
        if self.shared and is_file(uri) and not self.exists(f"errors/{name}"):
            self.write(f"errors/{name}", read_bytes(uri))

    def features(self, info: RunInfo) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Ids (n,) and features (n, K, h, w) of the images of each part, and the number of those that failed.

        Raises:
            DataError: A part is damaged.
            StorageError: It cannot be read.
        """
        for part in _parts(info):
            uri = join(self._features(info), part_name(part.index))
            try:
                table = read_sealed(uri, ["image_id", "features"], self._feature_facts(info, part.index))
            except SealError as error:
                raise DataError(f"{error}; run the same command again, which computes it again") from None
            facts = table.schema.metadata
            shape = tuple(map(int, facts[_SHAPE.encode()].decode().split(",")))
            values = table["features"].combine_chunks().flatten().to_numpy()
            yield table["image_id"].to_numpy(), values.reshape(-1, *shape), int(facts[FAILED.encode()])

    def remove_features(self) -> None:
        """Remove the stored features, which the model replaces: an image may have a quarter of a megabyte."""
        remove_files(self.where(_FEATURES))

    def save(self, epoch: int, best: int, data: bytes) -> None:
        """Store the checkpoint of an epoch, and remove those that are neither among the last nor the best."""
        self.write(_checkpoint(epoch), data)
        kept = {*range(epoch - _KEPT + 1, epoch + 1), best}
        for one in self.epochs():
            if one not in kept:
                storage.remove(self.where(_checkpoint(one)))

    def checkpoint(self, epoch: int) -> bytes | None:
        """The checkpoint of an epoch; None where there is none."""
        name = _checkpoint(epoch)
        return self.read(name) if self.exists(name) else None

    def set_aside(self, epoch: int, reason: str) -> None:
        """Keep a damaged checkpoint as ``*.bad``, where nothing reads it."""
        where = self.where(_checkpoint(epoch))
        log.warning("%s is damaged (%s); it is set aside as *.bad", where, reason)
        storage.set_aside(where)

    def epochs(self) -> list[int]:
        """Epochs that have a checkpoint, the last first."""
        names = list_folder(self.where("checkpoints"))[1]
        return sorted((int(match[1]) for match in map(_CHECKPOINT.fullmatch, names) if match), reverse=True)

    def write_curves(self, curves: Sequence[Sequence[Any]]) -> None:
        """Store ``curves.parquet``.

        Args:
            curves: (epoch, split, metric, value, seconds) of every pass, at least one.
        """
        columns = dict(zip(CURVES.names, zip(*curves, strict=True), strict=True))
        self.write("curves.parquet", encode(pa.table(columns, schema=CURVES)))

    def write_predictions(self, rows: Sequence[Sequence[Any]]) -> None:
        """Store ``predictions.parquet``.

        Args:
            rows: Values of :data:`TESTED` of each test image, at least one.
        """
        columns = dict(zip(TESTED.names, zip(*rows, strict=True), strict=True))
        self.write(PREDICTIONS_FILE, encode(pa.table(columns, schema=TESTED)))

    def predictions(self) -> pa.Table:
        """The predictions on the test images, in the order of the manifest."""
        return pq.read_table(pa.BufferReader(self.read(PREDICTIONS_FILE)))

    def clean(self) -> None:
        """Remove the temporary files of killed writers."""
        for name in ("", *self.folders, _FEATURES):
            storage.clean(self.where(name) if name else self.uri)

    def _features(self, info: RunInfo) -> str:
        """The folder of the features, which no others are in."""
        digest = self._feature_facts(info, 0)["wsl_pipeline.origin"]
        return join(self.shared, digest[:16]) if self.shared else self.where(_FEATURES)

    def _feature_facts(self, info: RunInfo, part: int) -> dict[str, str]:
        """Entries of the footer of features: of all that they follow from, which is not the head."""
        made_by = (info.manifest_sha256, info.weights_sha256, info.layer, info.preprocess.model_dump(), info.precision)
        more = (info.levels, info.shard_size, info.batch_size, info.device, self.config().model.fit)
        digest = hashlib.sha256(json.dumps([*made_by, *more, part]).encode()).hexdigest()
        return {"wsl_pipeline.origin": digest}

    def _facts(self, info: RunInfo, part: int) -> dict[str, str]:
        return {"wsl_pipeline.origin": hashlib.sha256(f"{info.origin()} features {part}".encode()).hexdigest()}


def remove_files(folder: str) -> None:
    """Remove a folder that has files alone, if it is there."""
    for name in list_folder(folder)[1]:
        storage.remove(join(folder, name))
    storage.remove_folder(folder)


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
    """Ids (n,), ascending, splits (n,) and classes of the images of a training."""
    table = pq.read_table(directory.manifest, columns=["image_id", "split", "labels"])
    return table["image_id"].to_numpy(), np.array(table["split"].to_pylist()), table["labels"].to_pylist()


def _parts(info: RunInfo) -> list[Shard]:
    return cut_into_shards(info.images, info.shard_size)


def _checkpoint(epoch: int) -> str:
    return f"checkpoints/epoch-{epoch:04}.pt"
