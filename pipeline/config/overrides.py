"""Overrides of single keys, as Python values or as the ``KEY=VALUE`` of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from types import GenericAlias
from typing import Any, NamedTuple

import numpy as np

from pipeline.config.kinds import is_only_list, is_texts, kind_of
from pipeline.config.sections import Config, Section
from pipeline.config.written import read_value, read_yaml
from stages.errors import ConfigurationError


class Override(NamedTuple):
    """A key and its new value.

    Attributes:
        key: Dotted name.
        value: As a parsed configuration has it: texts, numbers, truth values, null, and lists of these.
    """

    key: str
    value: Any


Overrides = Mapping[str, object] | Sequence[str | Override]
"""Overrides: ``{"box.threshold": 0.15}`` with Python values, or ``["box.threshold=0.15"]`` as a shell passes them."""

RULES = "box."
"""Prefix of the keys that accept a list of choices in some commands; none of them has a list as its value."""


def parsed(overrides: Overrides, choices: str | None = None, kind: type[Section] = Config) -> list[Override]:
    """Overrides with their values.

    Args:
        overrides: Values by dotted key, ``KEY=VALUE`` strings, or what this function returned.
        choices: Read ``[A, B]`` as a list of choices for the keys that begin so and have no list as their value.
        kind: What is configured.

    Raises:
        ConfigurationError: A value cannot stand in a configuration, or a string is not ``KEY=VALUE``.

    >>> parsed(["data.root=set #2", "box.threshold=0.15"])
    [Override(key='data.root', value='set #2'), Override(key='box.threshold', value=0.15)]
    >>> parsed({"evaluate.iou": (0.3, 0.5)})
    [Override(key='evaluate.iou', value=[0.3, 0.5])]
    """
    if isinstance(overrides, str):
        raise ConfigurationError(f"{overrides!r}: give overrides as a mapping, or as a list of KEY=VALUE")
    if isinstance(overrides, Mapping):
        return [Override(key, _plain(key, value)) for key, value in overrides.items()]
    return [one if isinstance(one, Override) else _split(one, choices, kind) for one in overrides]


def _split(text: str, choices: str | None, section: type[Section]) -> Override:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"{text!r}: write overrides as KEY=VALUE, such as box.threshold=0.15")
    kind: Any = kind_of(section, key)
    if kind is None:  # The configuration refuses the key, whatever its value is.
        with suppress(ConfigurationError):
            return Override(key, read_value(value, kind, key))
        return Override(key, value)
    if is_choice(key, choices, section) and value.startswith("["):
        return Override(key, read_yaml(value, GenericAlias(list, kind), key))
    return Override(key, read_value(value, kind, key))


def is_choice(key: str, choices: str | None, section: type[Section]) -> bool:
    """Whether a list for a key stands for several values, of which each is one choice.

    Args:
        key: The key.
        choices: What such keys begin with; None where there are none.
        section: What is configured.
    """
    kind: Any = kind_of(section, key)
    takes_list = kind is not None and (is_only_list(kind) or is_texts(kind))
    return choices is not None and key.startswith(choices) and not takes_list


def _plain(key: str, value: object) -> object:
    """A value with paths as strings, and tuples and numpy values as lists and numbers."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(key, one) for one in value]
    if value is None or isinstance(value, str | int | float | dict):
        return value
    raise ConfigurationError(f"{key}: {type(value).__name__} is not a value of a configuration")
