"""The configuration of a run: typed, strict, hashed."""

from __future__ import annotations

import difflib
import hashlib
import json
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from stages.errors import ConfigurationError, unknown
from stages.formats.table import defaults, options_of, readable

if TYPE_CHECKING:
    from stages.boxes.protocols import Protocol

_PACKAGED = Path(__file__).parents[1] / "configs"
CONFIGS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"

# A value of an error message. YAML references can make a list of ten lines print as gigabytes.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 200, 200

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
                raise ValueError(f"{value!r} is no method; write METHOD, or METHOD@LAYER such as gradcam@features.3")
        return values

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, values: list[str]) -> list[str]:
        known = ["label", *(f"top{rank}" for rank in range(1, 6))]
        for value in values:
            if value not in known:
                raise ValueError(f"unknown target {value!r}; known: {', '.join(known)}")
        return values


class BoxConfig(Section):
    """How a map becomes a box: a named protocol, and what is changed of it; choices as in list protocols."""

    protocol: str = "cam2016"
    """Names every choice below; each can be overridden."""
    threshold: Share | None = None
    """Share of the map's maximum above which a location belongs to the object."""
    resize: str | None = None
    """Kernel from the map to the network's input."""
    normalize: str | None = None
    """What the map is divided by: max, minmax, ivr or none."""
    percentile: Share | None = None
    """Share of pixels that ivr sets to 0."""
    quantize: str | None = None
    """Whether the map is truncated to 256 levels."""
    comparator: str | None = None
    """How a pixel must compare with the threshold."""
    connectivity: Literal[4, 8] | None = None
    """Neighbours that join two pixels."""
    component: str | None = None
    """Which connected component gives the box."""
    v2_component: str | None = None
    """Which boxes MaxBoxAccV2 may hit with."""
    frame: str | None = None
    """Where overlap is measured: the displayed image or the network's input."""
    iou: str | None = None
    """Whether a side is x1 - x0 or x1 - x0 + 1."""
    far_edge: str | None = None
    """What inclusive overlap does with boxes at the right and bottom border."""
    iou_comparator: str | None = None
    """How overlap must compare with the IoU level."""
    topk_iou_comparator: str | None = None
    """The same in top-1 and top-5 localization."""
    empty: str | None = None
    """The box of a map without foreground."""
    official: str | None = None
    """Error rates beside the metrics."""
    sweep_interval: Share | None = None
    """Step of the thresholds that MaxBoxAcc chooses from."""


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
    """Of every random choice."""

    def hash(self) -> str:
        """SHA-256 over all keys but ``runtime``, 16 hex digits."""
        return hashlib.sha256(json.dumps(self.model_dump(exclude={"runtime"}), sort_keys=True).encode()).hexdigest()[
            :16
        ]


def config_names() -> list[str]:
    """Names that ``run`` accepts: the files of ``configs/``."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def load_config(name: str, overrides: list[str]) -> tuple[str, Config]:
    """The configuration of that name or file, with ``KEY=VALUE`` overrides applied.

    Args:
        name: A name in ``configs/`` or a path that ends in ``.yaml``.
        overrides: Dotted keys; the values are YAML. Relative paths in them are relative to the working
            directory, those in a file to that file.

    Returns:
        The name for the run directory, and the configuration.

    Raises:
        ConfigurationError: No such file, unreadable YAML, unknown key or bad value; one line each.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        if path.parent == CONFIGS:
            raise unknown("configuration", name, config_names())
        raise ConfigurationError(f"no configuration file {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    tree = _parse(text, str(path))
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: expected KEY: VALUE lines")
    _absolute_paths(tree, path.parent)
    return path.stem, from_tree(tree, overrides)


def from_tree(tree: dict, overrides: list[str]) -> Config:
    """The configuration that a parsed file says, with ``KEY=VALUE`` overrides applied to it.

    Raises:
        ConfigurationError: Unknown key or bad value.
    """
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_one_line(error)) from None


def scoring_config(method: str, overrides: list[str]) -> Config:
    """The configuration by which results of another program are scored.

    Args:
        method: What they are called.
        overrides: Of ``box``, ``evaluate``, ``seed`` and ``model.size``, the side of the frame that maps are
            resized to; 224 where not given.

    Raises:
        ConfigurationError: Unknown key or bad value.
    """
    tree: dict[str, Any] = {
        "data": {"format": "coco"},
        "model": {"spec": "foreign", "size": 224},
        "explain": {"methods": [method]},
    }
    for override in overrides:
        if not override.startswith(("box.", "evaluate.", "seed=", "model.size=")):
            raise ConfigurationError(f"{override}: only box, evaluate, seed and model.size mean something here")
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_one_line(error)) from None


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _apply(tree: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"{override!r}: write overrides as KEY=VALUE, such as box.threshold=0.15")
    *sections, last = key.split(".")
    value = _parse(text, key)
    changed = {last: value}
    if len(sections) == 1:
        _absolute_paths({sections[0]: changed}, Path.cwd())
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{key}: {section} is not a section")
    tree.update(changed)


def _absolute_paths(tree: dict, base: Path) -> None:
    """Make ``data.root`` and the files of other keys independent of where a worker runs."""
    data, model, evaluate = tree.get("data"), tree.get("model"), tree.get("evaluate")
    for key in ("blacklist", "calibrate_on"):
        if isinstance(evaluate, dict) and isinstance(evaluate.get(key), str) and "://" not in evaluate[key]:
            evaluate[key] = _absolute(evaluate[key], base)
    if isinstance(data, dict) and isinstance(data.get("root"), str) and "://" not in data["root"]:
        data["root"] = _absolute(data["root"], base)
    if isinstance(model, dict) and isinstance(model.get("spec"), str) and model["spec"].startswith("file:"):
        path, mark, query = model["spec"].removeprefix("file:").partition("?")
        options = [
            f"classes={_absolute(one.removeprefix('classes='), base)}" if one.startswith("classes=") else one
            for one in query.split("&")
        ]
        model["spec"] = f"file:{_absolute(path, base)}{mark}{'&'.join(options)}"


def _absolute(path: str, base: Path) -> str:
    return str((base / Path(path).expanduser()).resolve())


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    # Behind section and key pydantic names list positions and members of unions, which are not ours.
    key = ".".join(map(str, first["loc"][:2]))
    if first["type"] == "extra_forbidden":
        if isinstance(first["input"], dict) and first["input"]:  # A misspelt section: name its key in full.
            key = f"{key}.{next(iter(first['input']))}"
        keys = known_keys(Config)
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0)
        return f"unknown key {key}; did you mean {near[0]}?"
    if first["type"] == "missing":
        return f"{key} is not set"
    hint = "; write a list as [cam, gradcam]" if first["type"] == "list_type" else ""
    return f"{key}: {first['msg'].removeprefix('Value error, ')}; found {_SHORT.repr(first['input'])}{hint}"


def protocol_of(config: Config, blacklist: str | None = None) -> Protocol:
    """The named protocol with the configuration's overrides.

    Args:
        config: The configuration.
        blacklist: Digest that a run keeps of its ``evaluate.blacklist``; that of today's file where not given.

    Raises:
        DataError: ``evaluate.blacklist`` cannot be read.
        ConfigurationError: Unknown protocol, or values that it does not allow.
    """
    from stages.boxes.protocols import get_protocol

    overrides = config.box.model_dump(exclude={"protocol"}, exclude_none=True)
    if blacklist is not None:
        overrides["blacklist"] = blacklist
    elif config.evaluate.blacklist:
        from stages.evaluate.clsloc import digest, read_blacklist

        overrides["blacklist"] = digest(read_blacklist(config.evaluate.blacklist))
    return get_protocol(config.box.protocol, **overrides)


def known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys of a section."""
    keys = []
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys += known_keys(info.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def differing_keys(one: dict, other: dict, prefix: str = "") -> list[str]:
    """Dotted keys in which two dumped configurations differ, ``runtime`` left out."""
    keys: list[str] = []
    for name in sorted(set(one) | set(other)):
        if prefix + name == "runtime":
            continue
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            keys += differing_keys(a, b, f"{prefix}{name}.")
        elif a != b:
            keys.append(prefix + name)
    return keys
