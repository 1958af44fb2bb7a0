"""Conversion of overrides given as Python values into the KEY=VALUE form of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np
import yaml

from stages.errors import ConfigurationError

Overrides = Mapping[str, object] | Sequence[str]
"""Overrides: ``{"box.threshold": 0.15}`` with Python values, or ``["box.threshold=0.15"]`` with YAML."""


def as_arguments(overrides: Overrides) -> list[str]:
    """Overrides as :func:`pipeline.config.load.load_config` takes them.

    Args:
        overrides: Values by dotted key, or ``KEY=VALUE`` strings.

    Raises:
        ConfigurationError: A value cannot stand in a configuration.

    >>> as_arguments({"explain.methods": ["cam", "gradcam"], "box.threshold": 0.15, "data.sample": None})
    ['explain.methods=[cam, gradcam]', 'box.threshold=0.15', 'data.sample=null']
    """
    if isinstance(overrides, str):
        raise ConfigurationError(f"{overrides!r}: give overrides as a mapping, or as a list of KEY=VALUE")
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{key}={_text(key, value)}" for key, value in overrides.items()]


def _text(key: str, value: object) -> str:
    try:
        # YAML, not JSON: PyYAML reads the JSON number 1e-05 as a string.
        text: str = yaml.safe_dump(_plain(value), default_flow_style=True, width=float("inf"), allow_unicode=True)
    except yaml.YAMLError:
        raise ConfigurationError(f"{key}: {type(value).__name__} is not a value of a configuration") from None
    return text.removesuffix("...\n").removesuffix("\n")


def _plain(value: object) -> object:
    """A value with paths as strings, and tuples and numpy values as lists and numbers."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
