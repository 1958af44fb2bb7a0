"""The commands that learn from a run."""

from __future__ import annotations

import typer

from pipeline.shell.arguments import Json, RunArgument

training = typer.Typer(no_args_is_help=True, help="Learn from a run's images and maps.")


@training.callback()
def _group() -> None:
    """Without it, the only command would have no name."""


@training.command()
def foreground(run: RunArgument, as_json: Json = False) -> None:
    """Fit the foreground to a run that has none, for others: explain.foreground=RUN."""
    from pipeline.commands.train_foreground import train_foreground
    from pipeline.shell.output import print_table
    from pipeline.store.fit import FIT_FILE

    fit = train_foreground(run)
    facts = {"file": f"{run.rstrip('/')}/{FIT_FILE}", "layer": fit.layer, "images": fit.images}
    facts |= {"cells": fit.cells, "of foreground": fit.of_foreground}
    print_table(facts if as_json else {name: str(value) for name, value in facts.items()}, as_json)
