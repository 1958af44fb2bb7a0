"""Several rules in one command: a list of values for a key that takes one value stands for one run per value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pipeline.config.overrides import RULES, Override, Overrides, is_choice, parsed
from pipeline.config.sections import Config, Section
from stages.errors import ConfigurationError
from stages.ingest.paths import join


@dataclass(frozen=True)
class Variant:
    """One choice of rules.

    Attributes:
        name: Name of its folder: the values that distinguish it, such as ``cam2016-0.1``; empty where it is
            the only one.
        overrides: One value for each key.
    """

    name: str
    overrides: list[Override]

    def folder(self, out: str | Path) -> str:
        """The variant's run directory, below a local path or uri."""
        return join(str(out), self.name)


def variants(overrides: Overrides, choices: str = RULES, kind: type[Section] = Config) -> list[Variant]:
    """Every combination of the given values, in the order of the keys.

    Args:
        overrides: Overrides, of which some may list values: ``KEY=[VALUE,VALUE]``.
        choices: What those begin with.
        kind: What is configured.

    >>> [one.name for one in variants(["box.protocol=[cam2016,choe2020]", "box.threshold=[0.1,0.2]"])]
    ['cam2016-0.1', 'cam2016-0.2', 'choe2020-0.1', 'choe2020-0.2']

    Raises:
        ConfigurationError: A list is empty or repeats a value, or its key is given twice.
    """
    given = parsed(overrides, choices, kind)
    times = Counter(one.key for one in given)
    values: list[list[tuple[str, Override]]] = []
    for one in given:
        if not is_choice(one.key, choices, kind) or not isinstance(one.value, list):
            values.append([("", one)])
            continue
        check_list(one)
        if times[one.key] > 1:
            raise ConfigurationError(f"{one.key} is given twice, once as a list; give it once")
        values.append([(str(value), Override(one.key, value)) for value in one.value])
    return [
        Variant("-".join(name for name, _ in chosen if name), [override for _, override in chosen])
        for chosen in product(*values)
    ]


def check_list(override: Override) -> None:
    """Check that an override lists distinct single values.

    Raises:
        ConfigurationError: The list is empty or repeats a value, or a value is none.
    """
    key, values = override
    for value in values:
        if not isinstance(value, str | int | float) or "/" in str(value):
            raise ConfigurationError(f"{key}: {value!r} is not a single value; write a list as [0.1, 0.2]")
    if not values or len({str(one) for one in values}) < len(values):
        raise ConfigurationError(f"{key}: {values} must have at least one value, and each once")
