"""Configurations loaded from a name or a file, with overrides."""

from __future__ import annotations

import difflib
import os
import reprlib
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.history import Tree, migrated, schema, with_present_names
from pipeline.config.overrides import Override, Overrides, parsed
from pipeline.config.sections import Config, Section
from pipeline.config.suggest import command_for
from pipeline.config.written import read_yaml
from stages.classify.sources import with_prefix
from stages.classify.sources.file_spec import moved
from stages.errors import ConfigurationError, unknown

_PACKAGED = Path(__file__).parents[1] / "configs"
CONFIGS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"

Kind = TypeVar("Kind", bound=Section)

# Shortens values in error messages. YAML references can make a list of ten lines print as gigabytes.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 200, 200


def config_names(folder: Path = CONFIGS) -> list[str]:
    """Names that ``run`` accepts: the files of ``configs/``; or those of another folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_config(name: str, overrides: Overrides) -> tuple[str, Config]:
    """The configuration of a run by its name in ``configs/`` or its file, as :func:`load` has it."""
    return load(Config, CONFIGS, name, overrides)


def load(kind: type[Kind], folder: Path, name: str, overrides: Overrides) -> tuple[str, Kind]:
    """Load a configuration by name or file, and apply overrides.

    Args:
        kind: What is configured, such as a run.
        folder: Where the names are.
        name: A name in the folder or a path that ends in ``.yaml``.
        overrides: Values by dotted key, or ``KEY=VALUE`` strings. Relative paths in them are relative to the
            working directory, those in a file to that file.

    Returns:
        The name for the run directory, and the configuration.

    Raises:
        ConfigurationError: The file is missing or not valid YAML, or a key is unknown or has a bad value.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        if kind is Config and (command := command_for(name, overrides)):
            raise ConfigurationError(f"{name} is no configuration; to read it: {command}")
        if path.parent == folder:
            raise unknown("configuration", name, config_names(folder))
        raise ConfigurationError(f"no configuration file {name}, and no folder or image of that name")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    tree = read_yaml(text, kind, str(path))
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: expected KEY: VALUE lines")
    tree.pop("schema", None)  # The config.yaml of a run has it.
    _absolute_paths(tree, path.parent)
    return path.stem, from_tree(kind, tree, overrides)


def from_tree(kind: type[Kind], tree: Tree, overrides: Overrides) -> Kind:
    """The configuration in a parsed file, with overrides applied.

    Raises:
        ConfigurationError: A key is unknown or has a bad value.
    """
    for override in parsed(overrides, kind=kind):
        _apply(tree, override)
    try:
        return kind.model_validate(with_present_names(tree))
    except ValidationError as error:
        raise ConfigurationError(_one_line(error, kind)) from None


def stored_config(kind: type[Kind], text: bytes, where: str) -> Kind:
    """The configuration of a run, or of a training, that any version began.

    Args:
        kind: What was configured.
        text: Content of its ``config.yaml``.
        where: Path or uri of that file, for errors.

    Raises:
        ConfigurationError: It is damaged, or has keys or values that this version does not know.
    """
    try:
        tree = yaml.safe_load(text.decode())
    except (yaml.YAMLError, UnicodeDecodeError):
        tree = None
    if not isinstance(tree, dict) or type(since := tree.pop("schema", 1)) is not int:
        raise ConfigurationError(f"{where} is damaged; restore it or choose another --out")
    if since > schema():
        raise ConfigurationError(
            f"{where}: a later version wrote it (schema {since}, this one knows {schema()}); use that version"
        )
    try:
        return kind.model_validate(migrated(tree, since))
    except (ValidationError, ConfigurationError) as error:
        what = _one_line(error, kind) if isinstance(error, ValidationError) else error
        raise ConfigurationError(
            f"{where}: {what}; another version wrote it, or it is damaged: restore it or choose another --out"
        ) from None


def config_text(config: Section) -> bytes:
    """A configuration as a run stores it: every key, and the schema number."""
    text: str = yaml.safe_dump({"schema": schema()} | config.model_dump(), sort_keys=False)
    return text.encode()


def scoring_config(method: str, overrides: Overrides) -> Config:
    """The configuration for scoring results of another program.

    Args:
        method: Name of the results.
        overrides: Keys of ``box``, ``evaluate`` and ``seed``, ``data.annotation_limit``, and ``model.size``, the side
            of the frame that maps are resized to; 224 where not given.

    Raises:
        ConfigurationError: A key is unknown or has a bad value.
    """
    changes = parsed(overrides)
    for key, value in changes:
        if not key.startswith(("box.", "evaluate.")) and key not in ("seed", "data.annotation_limit", "model.size"):
            raise ConfigurationError(
                f"{key}={value}: only box, evaluate, seed, data.annotation_limit and model.size can be set"
            )
    foreign: Tree = {
        "data": {"format": "coco"},
        "model": {"spec": "foreign", "size": 224},
        "explain": {"methods": [method]},
    }
    return from_tree(Config, foreign, changes)


def _apply(tree: Tree, override: Override) -> None:
    *sections, last = override.key.split(".")
    changed = {last: override.value}
    _absolute_paths({sections[0]: changed} if sections else changed, Path.cwd())
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{override.key}: {section} is not a section")
    tree.update(changed)


def _absolute_paths(tree: Tree, base: Path) -> None:
    """Make ``data.root`` and the files of other keys independent of where a worker runs; an empty path is none."""
    data, model, evaluate, explain = (tree.get(name) for name in ("data", "model", "evaluate", "explain"))
    given = explain.get("foreground") if isinstance(explain, dict) else None
    if isinstance(explain, dict) and isinstance(given, str) and given != "fit" and "://" not in given:
        explain["foreground"] = _absolute(given, base) if given else "fit"
    for key in ("blacklist", "calibrate_on"):
        if isinstance(evaluate, dict) and isinstance(evaluate.get(key), str) and "://" not in evaluate[key]:
            evaluate[key] = _absolute(evaluate[key], base) if evaluate[key] else None
    for key in ("root", "class_map"):
        if isinstance(data, dict) and isinstance(data.get(key), str) and "://" not in data[key]:
            data[key] = _absolute(data[key], base) if data[key] else None
    if isinstance(model, dict) and isinstance(model.get("spec"), str):
        model["spec"] = with_prefix(model["spec"])
        if model["spec"].startswith("file:"):
            model["spec"] = "file:" + moved(model["spec"].removeprefix("file:"), lambda name: _absolute(name, base))


def _absolute(path: str, base: Path) -> str:
    try:
        return str((base / os.path.expanduser(path)).resolve())  # A folder may be called ~name; Path would refuse it.
    except ValueError:  # A NUL, or half a character: no file is called so, and the key's own check says it.
        return path


def _one_line(error: ValidationError, kind: type[Section]) -> str:
    first = error.errors()[0]
    # After section and key pydantic appends list positions and members of unions, which users do not know.
    key = ".".join(map(str, first["loc"][:2]))
    if first["type"] == "extra_forbidden":
        if isinstance(first["input"], dict) and first["input"]:  # A misspelt section: name its key in full.
            key = f"{key}.{next(iter(first['input']))}"
        keys = known_keys(kind)
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0)
        return f"unknown key {key}; did you mean {near[0]}?"
    if first["type"] == "missing":
        return f"{key} is not set"
    hint = "; write a list as [cam, gradcam]" if first["type"] == "list_type" else ""
    return f"{key}: {first['msg'].removeprefix('Value error, ')}; found {_SHORT.repr(first['input'])}{hint}"


def known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys of a section."""
    keys = []
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys += known_keys(info.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
