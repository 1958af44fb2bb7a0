"""Hashes of configurations, and the reading of configurations of earlier versions."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.sections import Config, Section
from stages.errors import ConfigurationError
from stages.formats.table import FORMATS, defaults

Tree = dict[str, Any]
"""A configuration as parsed from YAML: sections of keys."""


@dataclass(frozen=True)
class Change:
    """Changes from one schema to the next. A new key whose default changes no result needs no new schema.

    Attributes:
        renamed: Dotted keys, from the former to the current name.
        defaults: Value, by dotted key, that holds for an earlier run that does not set the key.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


CHANGES: dict[int, Change] = {2: Change()}
"""Changes by schema number. Schema 1, of version 0.2.1 and before, had no number and hashed all defaults."""

_NUMBERED = 2
"""The first schema that has a number."""

_SCHEMA_1 = {
    "data": ("format", "root", "split", "sample", "limit"),
    "model": ("spec", "size", "fit"),
    "explain": ("methods", "targets", "flip", "scales", "dilate", "layer"),
    "box": (
        *("protocol", "threshold", "resize", "normalize", "percentile", "quantize", "comparator", "connectivity"),
        *("component", "v2_component", "frame", "iou", "far_edge", "iou_comparator", "topk_iou_comparator", "empty"),
        *("official", "sweep_interval"),
    ),
    "evaluate": ("iou", "sweep", "calibrate_on", "faithfulness", "blacklist"),
}


def schema() -> int:
    """The current schema number."""
    return max(CHANGES)


def changed_from_defaults(config: Section) -> Tree:
    """The keys, other than those of ``runtime``, whose values in a configuration are not the defaults."""
    return config.model_dump(exclude={"runtime"}, exclude_defaults=True)


def config_hash(config: Section) -> str:
    """SHA-256, 16 hexadecimal digits, over the schema number and all values that are not defaults.

    ``runtime`` is left out. A key that a later version adds does not change the hash of configurations that
    leave it at its default.
    """
    # A schema that only renames keys leaves the hash of everything else as it was.
    since = max(number for number, change in CHANGES.items() if change.defaults or number == _NUMBERED)
    return _digest({"schema": since} | changed_from_defaults(config))


def former_hash(config: Config) -> str | None:
    """The hash that version 0.2.1 gave a configuration; None where it could not express the configuration."""
    tree = config.model_dump(exclude={"runtime"})
    known = {"seed": tree["seed"]} | {
        section: {key: tree[section][key] for key in keys if key in tree[section]}
        for section, keys in _SCHEMA_1.items()
    }
    rebuilt = Config.model_validate(known)
    return _digest(known) if differing_keys(rebuilt, config) == [] else None


def with_present_names(tree: Tree) -> Tree:
    """A configuration of any version with the current names of its keys.

    Args:
        tree: The content of a file; not modified.

    Raises:
        ConfigurationError: A key is set under both its former and its current name.
    """
    found = copy.deepcopy(tree)
    for number in sorted(CHANGES):
        for former, present in CHANGES[number].renamed.items():
            if (value := _pop(found, former)) is None:
                continue
            if _set(found, present, value) != value:
                raise ConfigurationError(f"{former} is now called {present}, and both are set; remove {former}")
    return found


def migrated(tree: Tree, since: int) -> Tree:
    """The configuration of a run of an earlier schema, with the key names and defaults of the current one.

    Args:
        tree: The stored configuration of the run; not modified.
        since: Number of its schema.
    """
    found = with_present_names(tree)
    if since < 2:
        _drop_idle_split(found)
    for number in range(since + 1, schema() + 1):
        for key, value in CHANGES[number].defaults.items():
            _set(found, key, value)
    return found


def _drop_idle_split(tree: Tree) -> None:
    """Up to schema 1 every format took a split, whether it read one or not."""
    data = tree.get("data")
    if isinstance(data, dict) and data.get("format") in FORMATS and "split" not in defaults(data["format"]):
        data.pop("split", None)


def differing_keys(one: Section, other: Section) -> list[str]:
    """Dotted keys, other than those of ``runtime``, in which two configurations differ."""
    return _differing(one.model_dump(exclude={"runtime"}), other.model_dump(exclude={"runtime"}))


def _differing(one: Tree, other: Tree, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name in sorted(set(one) | set(other)):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            keys += _differing(a, b, f"{prefix}{name}.")
        elif a != b:
            keys.append(prefix + name)
    return keys


def _digest(tree: Tree) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def _pop(tree: Tree, key: str) -> Any:
    *sections, last = key.split(".")
    for section in sections:
        tree = tree[section] if isinstance(tree.get(section), dict) else {}
    return tree.pop(last, None)


def _set(tree: Tree, key: str, value: Any) -> Any:
    """Set a key that is not set yet, and return the key's value."""
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    return tree.setdefault(last, value)
