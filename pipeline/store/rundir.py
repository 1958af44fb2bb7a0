"""A run's directory: committing shards, and resuming by listing them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.keys import named_keys
from pipeline.config.recipe import FullRecipe, NetworkFacts, Recipe
from pipeline.config.sections import Config
from pipeline.store import atomic as storage
from pipeline.store.directory import Directory
from pipeline.store.info import RunInfo
from pipeline.store.schema import ERRORS, PREDICTIONS
from pipeline.store.seal import SealError, read_sealed, seal
from pipeline.store.tables import AGREEING_FORM, MACHINE, RATED, RATED_FORM, SEALED_FORM, with_ratings
from stages.classes import ClassInfo
from stages.classify.network import Preprocess
from stages.errors import ConfigurationError, DataError
from stages.ingest.uris import is_file, list_folder

_PART = re.compile(r"part-(\d{6,})\.parquet")
FAILED = "wsl_pipeline.failed"
"""Key of a part's footer for the number of its images that failed, which have a part of their own."""


class RunDir(Directory[Config]):
    """The files of one run: its manifest, configuration and progress, and a part for every finished shard."""

    kind = Config
    of = "run"
    folders = ("predictions", "errors", "coco", "report")
    own = Directory.own | {"fit"}

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

    def write_info(self, info: RunInfo) -> None:
        """Write ``run.json``."""
        super().write_info(info)
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
        for name in ("", *self.folders, "fit"):
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


def encode(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """A table as the bytes of a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_size)
    data: bytes = sink.getvalue().to_pybytes()
    return data
