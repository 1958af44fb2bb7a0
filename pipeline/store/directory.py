"""The directory of a run or of a training: opening it, its configuration, its manifest and its ``run.json``."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, ClassVar, Generic, Self, TypeVar

from pydantic import ValidationError

from pipeline.config.history import differing_keys
from pipeline.config.load import stored_config
from pipeline.config.sections import Section
from pipeline.store import atomic as storage
from pipeline.store.files import Files
from pipeline.store.info import SCHEMA, RunInfo
from pipeline.store.locks import CLAIMS
from stages.errors import ConfigurationError, DataError
from stages.ingest.paths import local_path
from stages.ingest.uris import list_folder, open_file
from stages.printable import is_storable

MANIFEST_FILE = "manifest.parquet"

Kind = TypeVar("Kind", bound=Section)


class Directory(Files, Generic[Kind]):
    """A directory that holds the manifest, the configuration and the progress of what was begun there.

    Attributes:
        machines: Kind of machine that ran the network for each part that this object has read, by shard, where the
            part says it.
    """

    kind: type[Kind]
    """What is configured."""
    of: ClassVar[str]
    """What it holds, in a word, as ``run.json`` has it."""
    folders: ClassVar[tuple[str, ...]]
    """Folders that are made at once."""
    own: ClassVar[frozenset[str]] = frozenset({"config.yaml", "run.json", ".lock", CLAIMS})
    """Names of what may be there before the manifest, after an interruption."""

    def __init__(self, place: str | Path) -> None:
        super().__init__(place)
        self.machines: dict[int, str] = {}
        self._trusts_manifest = False

    @classmethod
    def open(cls, place: str | Path, config: Kind) -> Self:
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
                if not all(map(run.is_own, [*folders, *files])):
                    raise ConfigurationError(f"{run} is not empty and holds no run; choose another --out")
            for name in cls.folders:
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

    def config(self) -> Kind:
        """The configuration that the run was begun with, by any version.

        Raises:
            DataError: No run was begun there.
            ConfigurationError: It is damaged, has keys that this version does not know, or is of something else.
        """
        content = self.read("config.yaml")
        try:
            config = stored_config(self.kind, content, self.where("config.yaml"))
        except ConfigurationError:
            with suppress(DataError):  # It may be of something else, and whole.
                self.info()
            raise
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
        if info.of != self.of:
            raise ConfigurationError(f"{self} holds a {info.of}, not a {self.of}")
        if info.schema_number > SCHEMA:
            raise DataError(f"{self.where('run.json')}: a later version wrote it; use that version")
        return info

    def write_info(self, info: RunInfo) -> None:
        """Write ``run.json``."""
        self.write_json("run.json", info.plain())

    @classmethod
    def is_own(cls, name: str) -> bool:
        """Whether a name belongs to such a directory: one of its files, or the temporary file of a killed writer."""
        return name in {*cls.own, *cls.folders} or storage.is_temporary(name)
