"""The commands that learn: from images and labels, or from a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.shell.arguments import Json, OverridesArgument, RunArgument

if TYPE_CHECKING:
    from pipeline.config.variants import Variant


class _Named(TyperGroup):
    """A group whose commands are few, and which takes every other word for the name of a configuration."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a word, and its arguments."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return _NAMED, self.commands[_NAMED], args
        return super().resolve_command(ctx, args)


_NAMED = "NAME|FILE"

training = typer.Typer(
    cls=_Named, no_args_is_help=True, help="Learn from images and their labels, or from a run's images and maps."
)


@training.command(_NAMED)
def named(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="head, or a .yaml file.")],
    overrides: OverridesArgument = None,
    out: Annotated[
        str | None, typer.Option(help="Directory, a path or s3://BUCKET/NAME; default runs/train-NAME-HASH.")
    ] = None,
    executor: Annotated[str | None, typer.Option(help="ray or inline.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only about this many images of a split.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no result.")] = False,
) -> None:
    """Train a network for your own classes: wsl-pipeline train head data.root=DIR. The same command resumes.

    A key that lists values, such as model.head=[gap,conv-gmp], stands for several trainings, compared in one table.
    """
    from pipeline.commands.study import choices, study
    from pipeline.commands.train import default_directory, train
    from pipeline.config.training import load_training
    from pipeline.shell.arguments import with_options
    from pipeline.shell.console import end_with_failures, show_study, show_training, watching
    from pipeline.shell.output import keep_stdout, print_table

    sample = [] if limit is None else [f"data.sample={limit}"]  # The first by id may be of one class.
    chosen = choices([*with_options(overrides, executor), *sample])
    if dry_run:
        return print_table(_previews(name, chosen, out), as_json)
    answer = keep_stdout()
    if len(chosen) > 1:
        with watching(quiet) as watch:
            found = study(name, chosen, out, watch)
        if as_json:
            print(json.dumps(found), file=answer, flush=True)
        if not quiet:
            show_study(found)
        return
    stem, config = load_training(name, chosen[0].overrides)
    out = out or default_directory(stem, config)
    with watching(quiet) as watch:
        metrics = train(config, out, watch)
    if as_json:
        print(json.dumps(metrics | {"run_dir": out}), file=answer, flush=True)
    if not quiet:
        show_training(metrics, out, config.model.fit)
    end_with_failures(metrics, config.runtime.max_failures, out)


def _previews(name: str, chosen: Sequence[Variant], out: str | None) -> dict[str, Any]:
    """What a training would do; of a study, what each would."""
    from pipeline.commands.train import default_directory, preview
    from pipeline.config.training import load_training

    found = {}
    for one in chosen:
        stem, config = load_training(name, one.overrides)
        place = (one.folder(out) if out else None) if one.name else out or default_directory(stem, config)
        found[one.name] = preview(config, place) | ({"directory": place} if place else {})
    return found if len(chosen) > 1 else found[chosen[0].name]


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
