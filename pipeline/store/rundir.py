"""A run's directory: opening it, committing shards, and resuming by listing them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.config.history import differing_keys
from pipeline.config.keys import named_keys
from pipeline.config.load import stored_config
from pipeline.config.recipe import FullRecipe, NetworkFacts, Recipe
from pipeline.config.sections import Config
from pipeline.store import atomic as storage
from pipeline.store.files import Files
from pipeline.store.info import SCHEMA, RunInfo
from pipeline.store.locks import CLAIMS
from pipeline.store.schema import ERRORS, PREDICTIONS
from pipeline.store.seal import SealError, read_sealed, seal
from pipeline.store.tables import AGREEING_FORM, MACHINE, RATED, RATED_FORM, SEALED_FORM, with_ratings
from stages.classes import ClassInfo
from stages.classify.network import Preprocess
from stages.errors import ConfigurationError, DataError
from stages.ingest.paths import local_path
from stages.ingest.uris import is_file, list_folder, open_file
from stages.printable import is_storable

# Files of a run that was interrupted before its manifest was written.
_OWN = {"predictions", "errors", "coco", "report", "fit", "config.yaml", "run.json", ".lock", CLAIMS}
_FOLDERS = ("predictions", "errors", "coco", "report")
MANIFEST_FILE = "manifest.parquet"
_PART = re.compile(r"part-(\d{6,})\.parquet")
FAILED = "wsl_pipeline.failed"
"""Key of a part's footer for the number of its images that failed, which have a part of their own."""


class RunDir(Files):
    """The files of one run: its manifest, configuration and progress, and a part for every finished shard.

    Attributes:
        machines: Kind of machine that ran the network for each part that this object has read, by shard, where the
            part says it.
    """

    def __init__(self, place: str | Path) -> None:
        super().__init__(place)
        self.machines: dict[int, str] = {}
        self._trusts_manifest = False

    @classmethod
    def open(cls, place: str | Path, config: Config) -> RunDir:
        """Create the directory of a run, or open an existing one.

        Raises:
            ConfigurationError: It belongs to another configuration, does not hold a run, or cannot be
                written.
        """
        try:
            run = cls(place)
        except ConfigurationError as error:
            raise ConfigurationError(f"--out: {error}") from None
        if not is_storable(run.uri):
            raise ConfigurationError(f"--out: the name of {run} is not UTF-8; choose another one")
        try:
            if run.begun:
                if keys := differing_keys(run.config(), config):
                    raise ConfigurationError(
                        f"{run} holds a run of another configuration (it differs in {', '.join(keys)}); "
                        "choose another --out"
                    )
            else:
                folders, files = list_folder(run.uri)
                if not all(map(is_own, [*folders, *files])):
                    raise ConfigurationError(f"{run} is not empty and holds no run; choose another --out")
            for name in _FOLDERS:
                storage.make_folder(run.where(name))
        except OSError as error:
            raise ConfigurationError(f"--out: cannot write to {run}: {storage.reason(error)}") from None
        return run

    @property
    def manifest(self) -> str | BinaryIO:
        """The manifest as :mod:`pyarrow.parquet` takes it: a path, or a file that reads only the requested ranges.

        Raises:
            DataError: It is not the one that the run began with.
        """
        self.check_manifest()
        uri = self.where(MANIFEST_FILE)
        return uri if local_path(uri) is not None else open_file(uri)

    def check_manifest(self) -> None:
        """Check, once per process, that the manifest is the one that the run began with.

        Raises:
            DataError: It is not.
        """
        if self._trusts_manifest:
            return
        expected = self.info().manifest_sha256
        if expected and hashlib.sha256(self.read(MANIFEST_FILE)).hexdigest() != expected:
            where = self.where(MANIFEST_FILE)
            raise DataError(f"{where} is not the one that the run began with; restore it or choose another --out")
        self._trusts_manifest = True

    @property
    def begun(self) -> bool:
        """Whether the run has written its manifest."""
        return self.exists(MANIFEST_FILE)

    @property
    def locked_once(self) -> bool:
        """Whether a process has locked the run, now or earlier; a folder that is no run is not to be locked."""
        return self.exists(".lock") or bool(list_folder(self.where(CLAIMS))[1])

    @property
    def complete(self) -> bool:
        """Whether every image of the manifest is accounted for and all results are written."""
        return self.exists("_SUCCESS")

    def reopen(self) -> None:
        """Mark the run as incomplete again, since one of its files was removed."""
        storage.remove(self.where("_SUCCESS"))

    def commit(self, shard: int, predictions: pa.Table, errors: pa.Table) -> None:
        """Store a finished shard. The predictions' file is the commit, so the errors are written first."""
        name, facts = part_name(shard), self._facts(shard)
        if errors.num_rows:
            self.write(f"errors/{name}", seal(errors, facts))
        else:  # An earlier attempt that was killed before its predictions may have left errors.
            storage.remove(self.where(f"errors/{name}"))
        self.write(f"predictions/{name}", seal(predictions, facts | {FAILED: str(errors.num_rows)}))

    def committed(self) -> set[int]:
        """Indices of the finished shards."""
        return {shard for shard, _ in self.parts("predictions")}

    def with_failures(self) -> set[int]:
        """Indices of the finished shards with images that failed."""
        return {shard for shard, _ in self.parts("errors")} & self.committed()

    def predictions(self, columns: list[str] | None = None, every: bool = False) -> Iterator[pa.Table]:
        """The committed predictions, shard by shard in order.

        Args:
            columns: Names of the columns; None for all.
            every: Whether to give the rows of further components, too.

        Raises:
            DataError: A part is damaged, or is not one of this run.
        """
        wanted = columns or PREDICTIONS.names
        for shard, uri in self.parts("predictions"):
            if every or not self.rated:
                yield self._read(shard, uri, wanted)
            else:
                table = self._read(shard, uri, list(dict.fromkeys([*wanted, "component"])))
                yield table.filter(pc.equal(table["component"], 0)).select(wanted)

    def errors(self) -> Iterator[pa.Table]:
        """The errors of the committed shards, in order.

        Raises:
            DataError: A part is damaged, or is not one of this run.
        """
        done = self.committed()
        yield from (self._read(shard, uri, ERRORS.names) for shard, uri in self.parts("errors") if shard in done)

    def _facts(self, shard: int) -> dict[str, str]:
        """Entries of the footer of this run's files of a shard, and of no other file."""
        return {"wsl_pipeline.origin": hashlib.sha256(f"{self._origin} {shard}".encode()).hexdigest()}

    @cached_property
    def _origin(self) -> str:
        return self.info().origin()

    @property
    def rated(self) -> bool:
        """Whether the predictions have a quality; those of version 0.5.0 and before have none."""
        return self._form >= RATED_FORM

    @property
    def rated_by_scales(self) -> bool:
        """Whether that quality counts the agreement of scales; that of version 0.6.0 does not."""
        return self._form >= AGREEING_FORM

    @cached_property
    def _form(self) -> int:
        """Version of the parts; those of complete runs of version 0.3.0 and before are not sealed."""
        return self.info().counts_form

    def config(self) -> Config:
        """The configuration that the run was begun with, by any version.

        Raises:
            DataError: No run was begun there.
            ConfigurationError: It is damaged, or has keys that this version does not know.
        """
        content = self.read("config.yaml")
        config = stored_config(content, self.where("config.yaml"))
        expected = self.info().config_sha256 if self.begun else ""
        if expected and hashlib.sha256(content).hexdigest() != expected:
            raise ConfigurationError(
                f"{self.where('config.yaml')} was changed after the run was begun; restore it or choose another --out"
            )
        return config

    def info(self) -> RunInfo:
        """The content of ``run.json``: the run's origins and progress.

        Raises:
            DataError: No run was begun there, or the file is damaged.
        """
        tree = self.read_json("run.json")
        try:
            info = RunInfo.model_validate(tree)
        except ValidationError as error:
            key = ".".join(map(str, error.errors()[0]["loc"]))
            raise DataError(
                f"{self.where('run.json')} is damaged ({key}: {error.errors()[0]['msg']}); "
                "restore it or choose another --out"
            ) from None
        if info.schema_number > SCHEMA:
            raise DataError(f"{self.where('run.json')}: a later version wrote it; use that version")
        return info

    def write_info(self, info: RunInfo) -> None:
        """Write ``run.json``."""
        self.write_json("run.json", info.plain())
        self.__dict__.pop("_origin", None)

    def recipe(self) -> FullRecipe:
        """The run's recipe, from its own files: neither its network nor its blacklist need exist.

        The classes are left out; :meth:`classes` reads them from a large file.

        Raises:
            UserError: A file is missing or damaged, as in :meth:`config` and :meth:`info`.
        """
        info, config = self.info(), self.config()
        facts = NetworkFacts(
            weights_sha256=info.weights_sha256,
            preprocess=Preprocess(**info.preprocess.model_dump()),
            outputs=info.outputs,
            # Version 0.2.1 and before record which layers were explained, not by which method.
            layers=info.layers or dict.fromkeys(config.explain.methods, _as_list(info.layer)),
            same_map_as=info.same_map_as,
        )
        try:
            with named_keys():
                return Recipe.of(config, info.blacklist).with_network(facts).with_levels(info.levels or {})
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.where('config.yaml')}: {error}") from None

    def classes(self) -> list[ClassInfo]:
        """The classes by network output, as the finished run's COCO file lists them.

        Raises:
            DataError: The run has not got that far.
        """
        name = "coco/ground_truth.json"
        try:
            return [ClassInfo(one["name"], one.get("wnid")) for one in self.read_json(name)["categories"]]
        except (AttributeError, KeyError, TypeError):
            raise DataError(f"{self.where(name)} is damaged; restore it, or run the command of its run again") from None

    def part(self, kind: str, shard: int) -> pa.Table:
        """One shard's ``predictions`` or ``errors``, all columns; no rows where it has no such file."""
        schema = {"predictions": PREDICTIONS, "errors": ERRORS}[kind]
        uri = self.where(f"{kind}/{part_name(shard)}")
        return self._read(shard, uri, schema.names) if is_file(uri) else schema.empty_table()

    def clean(self) -> None:
        """Remove the temporary files of killed writers, from the folders that they write to."""
        for name in ("", *_FOLDERS, "fit"):
            storage.clean(self.where(name) if name else self.uri)

    def parts(self, kind: str) -> list[tuple[int, str]]:
        """Shard and place of every part of ``predictions`` or ``errors``, in order."""
        named = ((_PART.fullmatch(name), name) for name in list_folder(self.where(kind))[1])
        return sorted((int(match[1]), self.where(f"{kind}/{name}")) for match, name in named if match)

    def _read(self, shard: int, uri: str, columns: list[str]) -> pa.Table:
        """Columns of one of the run's parts.

        Raises:
            DataError: It is damaged, or is not a part of this run.
            StorageError: It cannot be read.
        """
        try:
            return self.checked_part(shard, uri, columns)
        except SealError as error:
            raise DataError(f"{error}; run the command of its run again, which computes it again") from None

    def checked_part(self, shard: int, uri: str, columns: list[str]) -> pa.Table:
        """Columns of one of the run's parts, with the entries of its footer as the metadata of the schema.

        Args:
            shard: The shard that it belongs to.
            uri: Where it is.
            columns: Names of the wanted columns.

        Raises:
            SealError: It is damaged; says which and how.
            StorageError: It cannot be read.
        """
        known = [name for name in columns if self.rated or name not in RATED]
        table = read_sealed(uri, known, self._facts(shard) if self._form >= SEALED_FORM else None)
        table = table if known == columns else with_ratings(table, columns)
        if machine := (table.schema.metadata or {}).get(MACHINE):
            self.machines[shard] = machine.decode()
        return table


def _as_list(layer: str | list[str]) -> list[str]:
    """One or several names as a list."""
    return [layer] if isinstance(layer, str) else layer


def part_name(shard: int) -> str:
    """Name of a shard's files."""
    return f"part-{shard:06d}.parquet"


def is_own(name: str) -> bool:
    """Whether a name belongs to a run: one of its files, or the temporary file of a killed writer."""
    return name in _OWN or storage.is_temporary(name)


def encode(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """A table as the bytes of a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_size)
    data: bytes = sink.getvalue().to_pybytes()
    return data
