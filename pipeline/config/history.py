"""What a configuration's hash covers, and how configurations of earlier versions are read."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.sections import Config
from stages.errors import ConfigurationError

Tree = dict[str, Any]
"""A configuration as YAML gives it: sections of keys."""


@dataclass(frozen=True)
class Change:
    """What a schema changed of the one before it. A new key whose default changes no result needs no schema.

    Attributes:
        renamed: Dotted keys, from the former to the present name.
        defaults: By dotted key, the value that holds for an earlier run that does not name the key.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


CHANGES: dict[int, Change] = {2: Change()}
"""By the number of the schema. Schema 1, of version 0.2.1 and before, was not numbered and hashed all defaults."""

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
    """The number of the present schema."""
    return max(CHANGES)


def changed_from_defaults(config: Config) -> Tree:
    """The keys, other than those of ``runtime``, that a configuration sets to something else than their defaults."""
    return config.model_dump(exclude={"runtime"}, exclude_defaults=True)


def config_hash(config: Config) -> str:
    """SHA-256, 16 hexadecimal digits, over the schema's number and all that differs from its defaults.

    ``runtime`` is left out. A key that a later version adds does not change the hash of configurations that
    leave it at its default.
    """
    return _digest({"schema": schema()} | changed_from_defaults(config))


def former_hash(config: Config) -> str | None:
    """The hash that version 0.2.1 gave to a configuration; None where that had no such configuration."""
    tree = config.model_dump(exclude={"runtime"})
    known = {"seed": tree["seed"]} | {
        section: {key: tree[section][key] for key in keys if key in tree[section]}
        for section, keys in _SCHEMA_1.items()
    }
    rebuilt = Config.model_validate(known)
    return _digest(known) if differing_keys(rebuilt, config) == [] else None


def with_present_names(tree: Tree) -> Tree:
    """A configuration whose keys are called as they are now, whatever version it was written for.

    Args:
        tree: As a file has it; not changed.

    Raises:
        ConfigurationError: A key stands there under its former and under its present name.
    """
    found = copy.deepcopy(tree)
    for number in sorted(CHANGES):
        for former, present in CHANGES[number].renamed.items():
            if (value := _pop(found, former)) is None:
                continue
            if _set(found, present, value) != value:
                raise ConfigurationError(f"{former} is called {present} now, and both are set; remove {former}")
    return found


def migrated(tree: Tree, since: int) -> Tree:
    """The configuration of a run of an earlier schema, in the words and with the defaults of the present one.

    Args:
        tree: As the run stored it; not changed.
        since: The number of its schema.
    """
    found = with_present_names(tree)
    for number in range(since + 1, schema() + 1):
        for key, value in CHANGES[number].defaults.items():
            _set(found, key, value)
    return found


def differing_keys(one: Config, other: Config) -> list[str]:
    """Dotted keys in which two configurations differ, those of ``runtime`` left out."""
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
    """Set a key that is not set yet; its value after that."""
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    return tree.setdefault(last, value)
