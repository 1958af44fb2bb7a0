"""Several rules in one command: a list of values for a key that takes one value stands for one run per value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from stages.errors import ConfigurationError
from stages.ingest.paths import join

RULES = "box."
"""Prefix of the keys that accept a list of choices; none of them has a list as its value."""


@dataclass(frozen=True)
class Variant:
    """One choice of rules.

    Attributes:
        name: Name of its folder: the values that distinguish it, such as ``cam2016-0.1``; empty where it is
            the only one.
        overrides: ``KEY=VALUE`` strings, each with one value.
    """

    name: str
    overrides: list[str]

    def folder(self, out: str | Path) -> str:
        """The variant's run directory, below a local path or uri."""
        return join(str(out), self.name)


def variants(overrides: list[str]) -> list[Variant]:
    """Every combination of the given values, in the order of the keys.

    Args:
        overrides: ``KEY=VALUE`` or ``KEY=[VALUE,VALUE]`` strings.

    >>> [one.name for one in variants(["box.protocol=[cam2016,choe2020]", "box.threshold=[0.1,0.2]"])]
    ['cam2016-0.1', 'cam2016-0.2', 'choe2020-0.1', 'choe2020-0.2']

    Raises:
        ConfigurationError: A list is empty or repeats a value, or its key is given twice.
    """
    times = Counter(override.partition("=")[0] for override in overrides)
    choices: list[list[tuple[str, str]]] = []
    for override in overrides:
        key, _, text = override.partition("=")
        values = listed(key, text) if key.startswith(RULES) else None
        if values and times[key] > 1:
            raise ConfigurationError(f"{key} is given twice, once as a list; give it once")
        choices.append([("", override)] if values is None else [(str(one), f"{key}={one}") for one in values])
    return [
        Variant("-".join(name for name, _ in chosen if name), [override for _, override in chosen])
        for chosen in product(*choices)
    ]


def listed(key: str, text: str) -> list[Any] | None:
    """The values of a list; None for anything else, which the configuration checks.

    Raises:
        ConfigurationError: The list is empty or repeats a value.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(values, list):
        return None
    if not values or len({str(one) for one in values}) < len(values):
        raise ConfigurationError(f"{key}: {text} must have at least one value, and each once")
    for value in values:
        if not isinstance(value, str | int | float) or "/" in str(value):
            raise ConfigurationError(f"{key}: {value!r} is not a single value; write a list as [0.1, 0.2]")
    return values
