"""Arguments and options that several commands take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name of 'list configs', or a .yaml file.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as box.threshold=0.15.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory: a path or a uri.")]

_OVERRIDE = re.compile(r"\w+(\.\w+)*=")


def runs_and_overrides(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """The runs and the overrides among arguments, each in order.

    >>> runs_and_overrides(["runs/b", "box.threshold=0.1", "./seed=1"])
    (['runs/b', './seed=1'], ['box.threshold=0.1'])
    """
    overrides = [one for one in given if _OVERRIDE.match(one)]
    return [one for one in given if not _OVERRIDE.match(one)], overrides


def with_options(overrides: list[str] | None, executor: str | None, limit: int | None = None) -> list[str]:
    """The overrides, including those given as options."""
    changes = list(overrides or [])
    changes += [f"runtime.executor={executor}"] if executor else []
    changes += [f"data.limit={limit}"] if limit is not None else []
    return changes
