"""The keys of a configuration: typed, strictly validated, each documented below its declaration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)

from pipeline.config.keys import named_keys
from pipeline.config.kinds import is_only_list
from stages.boxes import protocols
from stages.classify.class_map import ClassMap, read_class_map
from stages.errors import ConfigurationError, unknown
from stages.explain.targets import LABEL, LABELS, PRESENT, TOP
from stages.formats.content import ANNOTATION_LIMIT
from stages.formats.table import defaults, options_of, readable
from stages.printable import is_storable

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _no_repeats(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("the same name appears twice; name each once")
    return values


Names = Annotated[list[str], AfterValidator(_no_repeats)]


def _class_map(given: object) -> ClassMap | None:
    """The content of a class map, which takes the place of its file: results depend on it."""
    with named_keys():
        return read_class_map(given)


_CLASS_MAP = {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]}


class Section(BaseModel):
    """A group of keys. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _list_of_one(cls, value: Any, info: ValidationInfo) -> Any:
        """A single value where a list is wanted stands for a list of it."""
        wanted = is_only_list(cls.model_fields[str(info.field_name)].annotation)
        return [value] if wanted and isinstance(value, str | int | float) else value

    @field_validator("*")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """A run stores every text, and the paths of its images, as UTF-8."""
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not is_storable(text):
                raise ValueError("it is not UTF-8; rename the file or folder")
        return value


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
    """The images, with their labels and boxes."""

    format: Annotated[str, Field(json_schema_extra={"enum": list(readable())})]
    """Layout of the dataset; `wsl-pipeline list formats` shows the options of each."""
    root: str | None = None
    """Folder, archive or URI of the dataset; relative to the configuration file that names it."""
    split: Annotated[str, Field(pattern=r"^[\w-]+$")] = "val"
    """Split of the dataset, where its layout has splits."""
    sample: Count | None = None
    """Use a seeded random subset of about this many images, the same share of every class."""
    limit: Count | None = None
    """Use only this many images, the first by id."""
    class_map: Annotated[ClassMap | None, BeforeValidator(_class_map), WithJsonSchema(_CLASS_MAP)] = None
    """The network's classes that a class of the dataset stands for, as a mapping or a YAML or JSON file of it:
    dog: [golden retriever, n02109047, 258]. Names, wnids and output numbers; `wsl-pipeline list classes SPEC` shows
    them. Their probabilities are added up, and the most probable one on the image is explained. A class that is not
    listed is found by its own wnid or name."""
    depth: Annotated[int, Field(ge=1, le=32)] | Literal["auto"] = "auto"
    """Bits per sample that the data of 16-bit, 32-bit and float images have, whatever their container; 1 stands for
    values from 0 to 1. auto: what the files say, or else the values of all such images of the run, for which each is
    decoded once more before it."""
    annotation_limit: Count = ANNOTATION_LIMIT
    """Largest annotation file in MiB, unpacked where it is packed."""

    @model_validator(mode="before")
    @classmethod
    def _own_split(cls, tree: Any) -> Any:
        """Fill in the format's default split: the split identifies the data, so it is always stored."""
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
        """Options for the format's reader, including any that were set but do not fit it.

        Old configurations store the default split for every format, so the default does not count as set.
        """
        own = defaults(self.format)
        own_keys = {"format", "root", "sample", "limit", "class_map", "depth", "annotation_limit"}
        values = self.model_dump(exclude=own_keys, exclude_none=True)
        return {key: value for key, value in values.items() if key in own or (key, value) != ("split", "val")}


class ModelConfig(Section):
    """The classifier."""

    spec: str
    """Source of the network, such as torchvision:resnet50@IMAGENET1K_V1 or lite0."""
    size: Annotated[int, Field(ge=32, le=4096)] | None = None
    """Side of the input in pixels; null stands for the weights' own."""
    fit: Literal["squash", "center_crop", "letterbox"] = "squash"
    """How an image is made square."""
    outputs: Literal["auto", "softmax", "sigmoid"] = "auto"
    """What the network's outputs stand for: classes that exclude each other (softmax) or each with a probability of its
    own (sigmoid). auto tells by the network's last activation, takes one output as two classes, and logits as those
    of a softmax: state sigmoid for a multi-label network that returns logits."""


class ExplainConfig(Section):
    """The maps."""

    methods: Annotated[Names, Field(min_length=1)] = ["cam"]
    """Explainers, each at explain.layer or, as METHOD@LAYER, at a layer of its own; all share one decode and one
    forward pass."""
    targets: Annotated[Names, Field(min_length=1)] = ["label", "top5"]
    """Classes that get a map: label, or labels for all that an image has; present for the first
    prediction and all from explain.present on; and top1 to top5 for the best predictions."""
    present: Share = 0.5
    """Probability from which on a class is present, for the target of that name: of networks with several labels."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the mean map of an image's other labels that is taken off each label's map, for the target labels: 0.6
    tells objects apart whose maps overlap."""
    flip: bool = False
    """Average every map with that of the mirrored image, mirrored back; costs one more forward pass."""
    scales: Annotated[list[Annotated[float, Field(gt=0, le=4)]], Field(min_length=1)] = [1.0]
    """Take the maps of the image at these scales, relative to the input size, together, as their mean or as box.scales
    says; each costs one forward pass."""
    dilate: bool = False
    """Explain the network's à trous (dilated) form, whose maps have twice the side and contain the original ones;
    needs a GAP + linear head. Classes and probabilities stay those of the network; costs about 1.5 more forward
    passes."""
    layer: str | Annotated[Names, Field(min_length=1)] = "last"
    """Dotted name of the explained layer; last is the last one with spatial extent. The maps of several are fused."""
    foreground: str = "fit"
    """Where the methods foreground and foreground-cam have their weights from: fit, from images of this run; or a run
    that fitted them to the same network and layer, or its file fit/foreground.npz."""
    fit_images: Count = 500
    """Number of the run's images, a seeded choice, that the foreground is fitted to."""
    exponents: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)] = [0.65, 0.35]
    """Exponents of the foreground and of the class's map in foreground-cam."""
    quantile: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the class's map that foreground-cam sets to 0."""

    @field_validator("methods")
    @classmethod
    def _whole(cls, values: list[str]) -> list[str]:
        for value in values:
            method, at, layer = value.partition("@")
            if not method or (at and not layer):
                raise ValueError(f"{value!r} is not a method; write METHOD, or METHOD@LAYER such as gradcam@features.3")
        return values

    @model_validator(mode="after")
    def _has_rivals(self) -> ExplainConfig:
        if self.contrast and LABELS not in self.targets:
            raise ValueError("contrast is between the labels of an image: add labels to targets, or leave it at 0")
        return self

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, values: list[str]) -> list[str]:
        known = [LABEL, LABELS, PRESENT, *TOP]
        for value in values:
            if value not in known:
                raise ValueError(f"unknown target {value!r}; known: {', '.join(known)}")
        return values


class _NamedProtocol(Section):
    """How a map becomes a box: a named protocol, and changes to it."""

    protocol: str = "cam2016"
    """Protocol that sets every key below but instances; each can be overridden (`wsl-pipeline list protocols`)."""
    instances: Literal["one", "all"] = "one"
    """all: further components with at least a tenth of the pixels of the first are boxes, too, in rows of their own."""


def _override(field: dataclasses.Field[Any], hint: Any) -> Any:
    """An optional key of ``box`` for a field of the protocol; numbers are shares."""
    about = protocols.documentation()[field.name]
    return (Share if hint is float else hint) | None, Field(None, description=about)


if TYPE_CHECKING:

    class BoxConfig(_NamedProtocol):
        """The fields of :class:`stages.boxes.protocols.Protocol` as optional keys."""

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


RULES = tuple(name for name in BoxConfig.model_fields if name not in _NamedProtocol.model_fields)
"""Keys of ``box`` that override the named protocol."""


class EvaluateConfig(Section):
    """The scores."""

    iou: Annotated[list[Share], Field(min_length=1)] = [0.3, 0.5, 0.7]
    """IoU levels at which a box counts as correct."""
    sweep: bool = True
    """Also score every threshold, for MaxBoxAcc."""
    calibrate_on: str | None = None
    """Directory of a finished run on other images, whose best thresholds are also scored here."""
    faithfulness: Names = []
    """Metrics that run the network on altered images, such as average_drop; `wsl-pipeline list metrics`
    shows their cost."""
    blacklist: str | None = None
    """File of image ids, one per line, that are not scored; relative to the configuration file that names it.
    Faithfulness, which needs no ground truth, includes them."""


class RuntimeConfig(Section):
    """How the run is executed. Never part of the hash: scores do not depend on it beyond rounding."""

    executor: Literal["ray", "inline"] = "ray"
    """ray: worker processes on one or many machines; inline: threads of this process."""
    shard_size: Count | Literal["auto"] = "auto"
    """Images per shard, the unit of retry and commit; auto: about 32 shards of 32 to 1024 images. Fixed once a run has
    begun."""
    batch_size: Count | Literal["auto"] = "auto"
    """Images per forward pass; auto: 32 on CPU, 128 on GPU. Fixed once a run has begun."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """cpu, cuda or cuda:N; auto uses a GPU where there is one."""
    workers: Count | Literal["auto"] = "auto"
    """Number of model workers, limited by the available resources; auto: one per GPU, or one per core without GPU."""
    gpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """Share of a GPU that one model worker occupies."""
    timeout: Annotated[float, Field(gt=0)] = 1800
    """Seconds that a batch, a single image or the loading of the network may take in a Ray worker before the worker
    counts as hung; one that stands still as a whole, stopped or on a dead disk, is replaced 15 s later. With inline,
    seconds that a batch or the storage of a shard may take before the run ends; there, the loading of the network and
    native code that keeps Python's lock have no bound."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass; fixed once a run has begun."""
    deterministic: bool = False
    """Whether a GPU must give equal bits every time, at some cost; CPUs always do."""
    max_failures: Share = 0.01
    """Share of images that may fail; where more fail, the run ends with exit code 4."""


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
