"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name of 'list configs', or a .yaml file.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as box.threshold=0.15.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory: a path or a uri.")]
