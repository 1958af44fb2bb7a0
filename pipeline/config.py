"""The configuration of a run: typed, strict, hashed."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stages.errors import ConfigurationError, unknown

if TYPE_CHECKING:
    from stages.evaluate.protocols import Protocol

_PACKAGED = Path(__file__).parent / "configs"
CONFIGS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "configs"

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A group of keys. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DataConfig(Section):
    """Which images, with which labels and boxes."""

    format: Literal["imagenet", "imagefolder", "coco", "digits", "photos"]
    """Layout of the dataset."""
    root: str | None = None
    """Folder, archive or URI of the dataset; relative to the configuration file that names it."""
    split: Annotated[str, Field(pattern=r"^[\w-]+$")] = "val"
    """Part of the dataset, where its layout has parts."""
    sample: Count | None = None
    """Take a seeded subset of about this many images, the same share of every class."""
    limit: Count | None = None
    """Take only the first images by id."""


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

    methods: Annotated[list[str], Field(min_length=1)] = ["cam"]
    """Explainers; all share one decode and one forward pass."""
    targets: Annotated[list[str], Field(min_length=1)] = ["label", "top5"]
    """Classes that get a map: label, and top1 to top5 for the best predictions."""
    flip: bool = False
    """Average every map with that of the mirrored image, mirrored back; one more forward pass."""
    scales: Annotated[list[Annotated[float, Field(gt=0, le=4)]], Field(min_length=1)] = [1.0]
    """Average the maps of the image at these sizes, as shares of the network's; one forward pass each."""
    layer: str = "last"
    """Dotted name of the explained layer; last is the last one with spatial extent."""

    @field_validator("methods", "targets")
    @classmethod
    def _no_repeats(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("the same name stands twice")
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
    """How a map becomes a box: a named protocol, and what is changed of it."""

    protocol: str = "cam2016"
    """Names every choice below; each can be overridden."""
    threshold: Share | None = None
    """Share of the map's maximum above which a location belongs to the object."""
    normalize: Literal["max", "minmax"] | None = None
    """What the map is divided by."""
    connectivity: Literal[4, 8] | None = None
    """Neighbours that join two pixels."""
    component: Literal["largest_pixels", "largest_contour"] | None = None
    """Which connected component gives the box."""


class EvaluateConfig(Section):
    """What is scored."""

    iou: Annotated[list[Share], Field(min_length=1)] = [0.3, 0.5, 0.7]
    """Overlaps from which a box counts as right."""
    sweep: bool = True
    """Also score every threshold, for MaxBoxAcc."""


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
    for override in overrides:
        _apply(tree, override)
    try:
        return path.stem, Config.model_validate(tree)
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
    """Make ``data.root`` and the files in ``model.spec`` independent of where a worker runs."""
    data, model = tree.get("data"), tree.get("model")
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
    return f"{key}: {first['msg'].removeprefix('Value error, ')}; found {first['input']!r}{hint}"


def protocol_of(config: Config) -> Protocol:
    """The named protocol with the configuration's overrides.

    Raises:
        ConfigurationError: Unknown protocol, or values that it does not allow.
    """
    from stages.evaluate.protocols import get_protocol

    overrides = config.box.model_dump(exclude={"protocol"}, exclude_none=True)
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
