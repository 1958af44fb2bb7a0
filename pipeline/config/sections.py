"""The keys of a configuration: typed, strict, documented where they stand."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from stages.boxes import protocols
from stages.errors import ConfigurationError, unknown
from stages.formats.table import defaults, options_of, readable

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _no_repeats(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("the same name stands twice")
    return values


Names = Annotated[list[str], AfterValidator(_no_repeats)]


class Section(BaseModel):
    """A group of keys. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def with_format_options(section: type[BaseModel]) -> type[BaseModel]:
    """The section with a key for each option of a format that has none yet; null is the format's own default."""
    kinds: dict[str, Any] = {}
    for name, row in readable().items():
        for option, kind in get_type_hints(row.options).items():
            if option not in section.model_fields:
                known, names = kinds.get(option, (None, []))
                kinds[option] = (kind if known is None else known | kind, [*names, name])
    keys: dict[str, Any] = {
        option: (kind | None, Field(None, description=f"Option of {', '.join(names)}; null is the format's default."))
        for option, (kind, names) in kinds.items()
    }
    return create_model(section.__name__, __base__=section, __module__=__name__, __doc__=section.__doc__, **keys)


@with_format_options
class DataConfig(Section):
    """Which images, with which labels and boxes."""

    format: Annotated[str, Field(json_schema_extra={"enum": list(readable())})]
    """Layout of the dataset; list formats tells the options of each."""
    root: str | None = None
    """Folder, archive or URI of the dataset; relative to the configuration file that names it."""
    split: Annotated[str, Field(pattern=r"^[\w-]+$")] = "val"
    """Part of the dataset, where its layout has parts."""
    sample: Count | None = None
    """Take a seeded subset of about this many images, the same share of every class."""
    limit: Count | None = None
    """Take only the first images by id."""

    @model_validator(mode="before")
    @classmethod
    def _own_split(cls, tree: Any) -> Any:
        """The split that the format reads by default: it is always written down, since it names the data."""
        if isinstance(tree, dict) and "split" not in tree and tree.get("format") in list(readable()):
            return tree | {key: value for key, value in defaults(tree["format"]).items() if key == "split"}
        return tree

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in readable():
            raise ValueError(str(unknown("format", value, list(readable()))))
        return value

    @model_validator(mode="after")
    def _fitting_options(self) -> Self:
        try:
            options_of(self.format, self.options)
        except ConfigurationError as error:
            raise ConfigurationError(f"data.{error.about}: {error}") from None
        return self

    @property
    def options(self) -> dict[str, object]:
        """What the format's reader is told: its options, and whatever else was set.

        Old configurations have the default split for every format, so that alone says nothing.
        """
        own = defaults(self.format)
        values = self.model_dump(exclude={"format", "root", "sample", "limit"}, exclude_none=True)
        return {key: value for key, value in values.items() if key in own or (key, value) != ("split", "val")}


class ModelConfig(Section):
    """Which classifier."""

    spec: str
    """Where the network comes from, such as torchvision:resnet50@IMAGENET1K_V1 or lite0."""
    size: Annotated[int, Field(ge=32, le=4096)] | None = None
    """Side of the input in pixels; the weights' own where not given."""
    fit: Literal["squash", "center_crop", "letterbox"] = "squash"
    """How an image becomes a square."""


class ExplainConfig(Section):
    """Which maps."""

    methods: Annotated[Names, Field(min_length=1)] = ["cam"]
    """Explainers, each at explain.layer or, as METHOD@LAYER, at one of its own; all share one decode and one
    forward pass."""
    targets: Annotated[Names, Field(min_length=1)] = ["label", "top5"]
    """Classes that get a map: label, and top1 to top5 for the best predictions."""
    flip: bool = False
    """Average every map with that of the mirrored image, mirrored back; one more forward pass."""
    scales: Annotated[list[Annotated[float, Field(gt=0, le=4)]], Field(min_length=1)] = [1.0]
    """Average the maps of the image at these sizes, as shares of the network's; one forward pass each."""
    dilate: bool = False
    """Explain the network's a trous form: maps of twice the sides that contain the original ones; needs GAP + linear.
    Classes and probabilities stay those of the network itself; one more forward pass of about 1.5 times the cost."""
    layer: str | Annotated[Names, Field(min_length=1)] = "last"
    """Dotted name of the explained layer; last is the last one with spatial extent. A list fuses their maps."""

    @field_validator("methods")
    @classmethod
    def _whole(cls, values: list[str]) -> list[str]:
        for value in values:
            method, at, layer = value.partition("@")
            if not method or (at and not layer):
                raise ValueError(f"{value!r} is not a method; write METHOD, or METHOD@LAYER such as gradcam@features.3")
        return values

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, values: list[str]) -> list[str]:
        known = ["label", *(f"top{rank}" for rank in range(1, 6))]
        for value in values:
            if value not in known:
                raise ValueError(f"unknown target {value!r}; known: {', '.join(known)}")
        return values


class _NamedProtocol(Section):
    """How a map becomes a box: a named protocol, and what is changed of it."""

    protocol: str = "cam2016"
    """Names every choice below; each can be overridden (list protocols)."""


def _override(field: dataclasses.Field[Any], hint: Any) -> Any:
    """An optional key of ``box`` for a field of the protocol; numbers are shares."""
    about = protocols.documentation()[field.name]
    return (Share if hint is float else hint) | None, Field(None, description=about)


if TYPE_CHECKING:

    class BoxConfig(_NamedProtocol):
        """The keys that :class:`stages.boxes.protocols.Protocol` documents, each optional."""

else:
    # ``blacklist`` follows from evaluate.blacklist, and ``name`` is what box.protocol says.
    _HINTS = get_type_hints(protocols.Protocol)
    BoxConfig = create_model(
        "BoxConfig",
        __base__=_NamedProtocol,
        __doc__=_NamedProtocol.__doc__,
        **{
            field.name: _override(field, _HINTS[field.name])
            for field in dataclasses.fields(protocols.Protocol)
            if field.name not in ("name", "blacklist")
        },
    )


class EvaluateConfig(Section):
    """What is scored."""

    iou: Annotated[list[Share], Field(min_length=1)] = [0.3, 0.5, 0.7]
    """Overlaps from which a box counts as right."""
    sweep: bool = True
    """Also score every threshold, for MaxBoxAcc."""
    calibrate_on: str | None = None
    """Directory of a finished run on other images, whose best thresholds are scored here, too."""
    faithfulness: Names = []
    """Metrics that ask the network about altered images, such as average_drop; list metrics tells their cost."""
    blacklist: str | None = None
    """File of image ids, one a line, that are not scored; relative to the configuration file that names it.
    Faithfulness, which asks the network and no ground truth, keeps them."""


class RuntimeConfig(Section):
    """How the run is carried out. Never part of the hash: scores do not depend on it beyond rounding."""

    executor: Literal["ray", "inline"] = "ray"
    """ray: worker processes on one machine or many; inline: threads of this process."""
    shard_size: Count | Literal["auto"] = "auto"
    """Images a shard, the unit of retry and commit; auto: 32 shards, of 32 to 1024 images. A run keeps its own."""
    batch_size: Count | Literal["auto"] = "auto"
    """Images a forward pass; auto: 32 on CPU, 64 on GPU. A run keeps the one that it began with."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """cpu, cuda or cuda:N; auto takes a GPU where there is one."""
    workers: Count | Literal["auto"] = "auto"
    """Model workers, no more than there is room for; auto: one a GPU, or one a core without GPU."""
    gpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """Share of a GPU that one model worker occupies."""
    timeout: Annotated[float, Field(gt=0)] = 1800
    """Seconds that a batch, an image tried alone or the loading of the network may take in a Ray worker before the
    worker counts as hung."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass; a run keeps the one that it began with."""
    max_failures: Share = 0.01
    """Share of images that may fail before the run ends with exit code 4."""


class Config(Section):
    """Everything that defines a run."""

    data: DataConfig
    model: ModelConfig
    explain: ExplainConfig = ExplainConfig()
    box: BoxConfig = BoxConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice: samples, random boxes, bootstrap intervals, noise."""
