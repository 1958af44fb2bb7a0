"""The content of ``run.json``: a run's origins and progress."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 2
"""Schema number of ``run.json``; version 0.2.1 and before did not number it."""


class _Part(BaseModel):
    # Fields of later versions are kept.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, validate_assignment=True)


class Source(_Part):
    """The run whose maps another run was made from."""

    config_hash: str
    weights_sha256: str
    manifest_sha256: str
    origin: str | None = None
    """Its :meth:`RunInfo.origin`, where the other fields do not say it: of a run with a fit, or of several fused."""

    @classmethod
    def of(cls, info: RunInfo) -> Source:
        """The source that a run is."""
        return cls(
            config_hash=info.config_hash,
            weights_sha256=info.weights_sha256,
            manifest_sha256=info.manifest_sha256,
            origin=info.origin() if info.fit_sha256 or info.fused_with else None,
        )


class Pixels(_Part):
    """Preprocessing of the network, as in :class:`stages.classify.network.Preprocess`."""

    size: int = 224
    resample: str = "bilinear"
    crop_ratio: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Call(_Part):
    """Facts about the last call that worked on the run."""

    process: str | None = None
    """Host and pid of the driver."""
    started: str | None = None
    """Start time in ISO 8601, UTC."""
    images_per_second: float | None = None
    workers: int | None = None
    """Number of processes that worked on a shard recently."""


class RunInfo(_Part):
    """The content of ``run.json``, the only file of a run, besides its logs, with times and rates."""

    schema_number: int = Field(default=1, alias="schema")
    of: str = "run"
    """What the directory is of: ``run`` or ``training``."""
    images: int = Field(ge=0)
    """Number of rows of the manifest."""
    counts_form: int = 1
    """Form of the counts that workers store with the parts; see :data:`pipeline.store.tables.COUNTS_FORM`."""
    config_hash: str = ""
    source: Source | None = None
    """Source of the maps, for a relocalized run."""
    fused_with: list[Source] = Field(default_factory=list)
    """Further sources, where the maps of several runs are fused."""
    config_sha256: str = ""
    """SHA-256 of ``config.yaml``; version 0.3.0 and before did not record it."""
    manifest_sha256: str = ""
    weights_sha256: str = ""
    dataset_classes: dict[str, int] = Field(default_factory=dict)
    """The dataset's classes in order, with the run's class of each, -1 for none; empty where they are the network's, or
    the dataset has none. Version 0.5.0 and before did not record them."""
    labelled: int = 0
    """Number of images with a label that the network knows."""
    boxes: int = 0
    """Number of ground-truth boxes."""
    shard_size: int = Field(ge=1)
    """Images per shard."""
    precision: str
    fit_sha256: str = ""
    """SHA-256 of ``fit/foreground.npz``, once it is fitted."""
    blacklist: str = "none"
    """Digest of the images that are not scored."""
    layer: str | list[str] = ""
    """The explained layer, or all of them."""
    layers: dict[str, list[str]] = Field(default_factory=dict)
    """Explained layers by entry of ``explain.methods``; version 0.2.1 and before did not record them."""
    same_map_as: dict[str, str] = Field(default_factory=dict)
    """Earlier entry of ``explain.methods`` that gives the same map on this network, by entry."""
    preprocess: Pixels = Pixels()
    outputs: str = "softmax"
    """What the network's outputs stand for: ``softmax`` or ``sigmoid``."""
    levels: dict[str, tuple[float, float]] | None = None
    """Values shown as black and as white in images with more than 8 bits, by what their files say; version 0.3.0 and
    before did not record them."""
    notes: list[str] = Field(default_factory=list)
    """Oddities of the data."""
    warnings: list[str] = Field(default_factory=list)
    """Warnings raised during the run."""
    versions: dict[str, str] = Field(default_factory=dict)
    batch_size: int | None = None
    """Images per forward pass, once the run has begun to compute."""
    device: str | None = None
    """Kind of device, ``cpu`` or ``cuda``, once the run has begun to compute."""
    machines: dict[str, int] = Field(default_factory=dict)
    """Number of parts by the kind of machine that ran the network, once the run is complete."""
    failed: int | None = None
    """Number of images in ``errors``, once the run is complete."""
    results: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the scores and COCO files by name, once the run is complete; version 0.3.0 and before did not record
    them."""
    computed_images: int = 0
    """Number of images committed by all calls; more than ``images`` where a shard was computed again."""
    wall_seconds: float = 0.0
    images_per_second: float | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds by stage and by part of a stage such as ``explain/cam``, summed over workers."""
    peak_memory_mib: dict[str, float] = Field(default_factory=dict)
    """Peak resident memory of the driver and of a worker, in MiB."""
    call: Call = Call()

    def origin(self) -> str:
        """Digest of everything that the run's parts follow from: images, network, configuration, cut and fit.

        Maps that another run made are those that this one would make.
        """
        made_by = (self.manifest_sha256, self.weights_sha256, self.config_hash, self.blacklist, self.precision)
        more = [self.fit_sha256] if self.fit_sha256 else []
        more += [one.model_dump_json() for one in self.fused_with]
        return hashlib.sha256(json.dumps([*made_by, self.shard_size, self.counts_form, *more]).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """The file's content as JSON values, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
