"""``run.json``: where a run came from, and how it went."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 2
"""Of this file; version 0.2.1 and before did not number it."""


class _Part(BaseModel):
    # What a later version says beyond this stays in the file.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, validate_assignment=True)


class Source(_Part):
    """The run whose maps another run was made from."""

    config_hash: str
    weights_sha256: str
    manifest_sha256: str


class Pixels(_Part):
    """How the network wants its pixels, as :class:`stages.classify.network.Preprocess` says it."""

    size: int = 224
    resample: str = "bilinear"
    crop_ratio: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Call(_Part):
    """What the last call that worked on the run says of itself."""

    process: str | None = None
    """Host and pid."""
    started: str | None = None
    """Time in ISO 8601, UTC."""
    images_per_second: float | None = None
    workers: int | None = None
    """Processes that had a part in a shard lately."""


class RunInfo(_Part):
    """What ``run.json`` holds. Times and rates stand here, and nowhere else in a run."""

    schema_number: int = Field(default=1, alias="schema")
    images: int = Field(ge=0)
    """Rows of the manifest."""
    counts_form: int = 1
    """Form of the counts that workers leave with the parts; see :data:`pipeline.store.tables.COUNTS_FORM`."""
    config_hash: str = ""
    source: Source | None = None
    """Of a run that was relocalized."""
    manifest_sha256: str = ""
    weights_sha256: str = ""
    labelled: int = 0
    """Images with a label that the network knows."""
    boxes: int = 0
    """Ground-truth boxes."""
    shard_size: int = Field(default=1024, ge=1)
    """Images a shard."""
    precision: str = "fp32"
    blacklist: str = "none"
    """Digest of the images that are not scored."""
    layer: str | list[str] = ""
    """The explained layer, or all of them."""
    layers: dict[str, list[str]] = Field(default_factory=dict)
    """By entry of ``explain.methods``; version 0.2.1 and before did not say."""
    same_map_as: dict[str, str] = Field(default_factory=dict)
    """By entry, the one before it that gives the same map on this network."""
    preprocess: Pixels = Pixels()
    notes: list[str] = Field(default_factory=list)
    """What was odd about the data."""
    warnings: list[str] = Field(default_factory=list)
    """What looked wrong while the run went on."""
    versions: dict[str, str] = Field(default_factory=dict)
    batch_size: int | None = None
    """Images a forward pass, once the run has begun to compute."""
    device: str | None = None
    """``cpu`` or ``cuda``, likewise."""
    failed: int | None = None
    """Images in ``errors``, once the run is complete."""
    computed_images: int = 0
    """Committed by all calls; more than ``images`` where a shard was computed again."""
    wall_seconds: float = 0.0
    images_per_second: float | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    """By stage and by part of it such as ``explain/cam``, summed over workers."""
    peak_memory_mib: dict[str, float] = Field(default_factory=dict)
    """Largest resident memory of the driver and of a worker."""
    call: Call = Call()

    def plain(self) -> dict[str, Any]:
        """What the file holds: JSON values, without what nobody has said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
