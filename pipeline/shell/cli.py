"""The command line: it parses, calls, prints and chooses the exit code; the work is done elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.config.keys import named_keys
from pipeline.engine.import_path import leave_out_current_folder
from pipeline.engine.interrupt import Interruption, handling, interrupt
from pipeline.shell.arguments import (
    Json,
    NameArgument,
    OverridesArgument,
    RunArgument,
    runs_and_overrides,
    with_options,
)
from pipeline.shell.labels import labels
from pipeline.shell.output import keep_stdout, outlive_readers, print_table, side_by_side, terminal_width
from pipeline.shell.training import training
from pipeline.version import __version__
from stages.errors import UserError
from stages.ingest.paths import masked
from stages.printable import printable

if TYPE_CHECKING:
    from pipeline.config.sections import Config

# Torch, ray, pyarrow and pydantic are imported inside the commands that need them: --help answers at once.

app = typer.Typer(
    no_args_is_help=True,
    # Rich would leave out colours, but not what is bold or dim.
    rich_markup_mode=None if os.environ.get("NO_COLOR") else "rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="From images with image-level labels to boxes, scores and a page.",
    epilog="Every command takes --debug, which adds the traceback to an error.",
)
app.add_typer(labels)
app.add_typer(training, name="train")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"wsl-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before a command."""


@app.command()
def run(
    name: NameArgument,
    overrides: OverridesArgument = None,
    out: Annotated[
        str | None, typer.Option(help="Run directory, a path or s3://BUCKET/RUN; default runs/NAME-HASH.")
    ] = None,
    executor: Annotated[str | None, typer.Option(help="ray or inline.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first images by id.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute the shards with images that failed again.")
    ] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Turn a dataset into maps, boxes and scores. The same command resumes an interrupted run."""
    stem, config = _checked(name, with_options(overrides, executor, limit))
    from pipeline.commands.run import default_directory, preview
    from pipeline.commands.run import run as carry_out
    from pipeline.shell.console import end_with_failures, show_scores, watching

    out = out or default_directory(stem, config)
    if dry_run:
        return print_table(preview(config, out, retry_failed) | {"run_dir": out}, as_json)
    answer = keep_stdout()
    with watching(quiet) as watch:
        metrics = carry_out(config, out, watch, retry_failed)
    if as_json:
        print(json.dumps(metrics | {"run_dir": out}), file=answer, flush=True)
    if not quiet:
        show_scores(metrics, out)
    end_with_failures(metrics, config.runtime.max_failures, out)


@app.command()
def relocalize(
    run: RunArgument,
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]... [KEY=VALUE]...",
            help="Runs over the same images, to be fused; keys of box and evaluate: box.protocol=[cam2016,choe2020].",
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Directory of the new run, or of one for each choice.")] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Make new boxes and scores from the stored maps of a run, or of several as one: no images, no network."""
    from pipeline.commands.relocalize import relocalize_all
    from pipeline.shell.console import show_variants, watching

    if out is None:
        raise typer.BadParameter("say where the new run goes: --out DIR")
    with watching(quiet) as watch:
        others, overrides = runs_and_overrides(more or [])
        results = relocalize_all([run, *others], overrides, out, watch)
    if as_json:
        print(json.dumps(results[0] if len(results) == 1 else {"runs": results}))
    if not quiet:
        show_variants(results)


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="As for run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Such as box.threshold=[0.1,0.2] explain.layer=[A,B]."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the runs; default runs/NAME-HASH-sweep.")] = None,
    executor: Annotated[str | None, typer.Option(help="ray or inline.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first images by id.")] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Make a run's maps once and score them by every combination of rules, in one table."""
    from pipeline.commands.sweep import sweep as carry_out
    from pipeline.shell.console import show_variants, watching

    answer = keep_stdout()
    with watching(quiet) as watch:
        results = carry_out(name, with_options(overrides, executor, limit), out, watch)
    if as_json:
        print(json.dumps({"runs": results}), file=answer, flush=True)
    if not quiet:
        show_variants(results)


@app.command()
def evaluate(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as box.protocol=choe2020.")
    ] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="COCO annotation file, or a run: its reviews.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="COCO results list.")] = None,
    maps: Annotated[Path | None, typer.Option(help="Folder of .npy maps, or one .npz.")] = None,
    box_format: Annotated[
        str,
        typer.Option(
            help="What the boxes are: xywh (COCO's), xyxy or cxcywh, or relative-xywh and so on for shares of the "
            "image; of the predictions, and of a ground truth that shows the same."
        ),
    ] = "auto",
    ground_truth_box_format: Annotated[str, typer.Option(help="The same for the ground truth alone.")] = "auto",
    as_json: Json = False,
) -> None:
    """Score boxes or heat maps of another program as if a run had made them."""
    from pipeline.commands.evaluate import evaluate as score
    from pipeline.shell.console import show_scores

    if ground_truth is None:
        raise typer.BadParameter("say what is right: --ground-truth coco.json")
    metrics = score(ground_truth, predictions, maps, list(overrides or []), box_format, ground_truth_box_format)
    if as_json:
        print(json.dumps(metrics))
    else:
        show_scores(metrics)


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run directories, paths or uris; one compares its methods.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Also where their boxes are made by different rules.")] = False,
    as_json: Json = False,
) -> None:
    """Say which differences between runs, or between the methods of one, are more than noise."""
    from pipeline.commands.compare import compare as compare_runs
    from pipeline.shell.console import show_differences

    found = compare_runs(runs, force)
    if as_json:
        print(json.dumps(found))
    else:
        show_differences(found)


@app.command()
def report(
    run: RunArgument,
    dest: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
) -> None:
    """Write the page of a finished run again."""
    from pipeline.report.page import write_report
    from pipeline.store.rundir import RunDir

    directory = RunDir(run)
    print(write_report(directory, directory.recipe(), dest))


@app.command()
def sanity(
    name: NameArgument,
    overrides: OverridesArgument = None,
    limit: Annotated[int, typer.Option(min=1, help="Images to look at, sampled by the seed.")] = 16,
    as_json: Json = False,
) -> None:
    """Check that maps depend on the network's parameters and the class, and follow a mirrored image."""
    config = _checked(name, list(overrides or []))[1]
    from pipeline.commands.sanity import check
    from pipeline.shell.console import show_sanity

    answer = keep_stdout()
    found = check(config, limit)
    if as_json:
        print(json.dumps(found), file=answer, flush=True)
    else:
        show_sanity(found)


@app.command()
def status(run: RunArgument, as_json: Json = False) -> None:
    """Show the progress of a run."""
    from pipeline.commands.status import status as progress_of
    from pipeline.store.rundir import RunDir

    print_table(progress_of(RunDir(run)), as_json)


@app.command()
def verify(run: RunArgument, as_json: Json = False) -> None:
    """Check that every file of a run is whole and was made by it."""
    from pipeline.commands.verify import verify as check
    from pipeline.store.rundir import RunDir
    from stages.errors import DataError

    found = check(RunDir(run))
    print_table(found, as_json)
    if found["damaged"]:
        more = f" and {len(found['damaged']) - 1} more" if found["damaged"][1:] else ""
        raise DataError(f"{found['damaged'][0]}{more}; the command of the run makes damaged parts and results again")


@app.command(name="list")
def list_(
    what: Annotated[
        str, typer.Argument(metavar="configs|datasets|models|classes|explainers|protocols|metrics|formats")
    ],
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="With classes: a network, such as lite0 or timm:resnet50.")
    ] = None,
    search: Annotated[str, typer.Option(help="Only entries that contain this text.")] = "",
    as_json: Json = False,
) -> None:
    """List the names that a configuration can use, or the classes of a network."""
    from pipeline.shell.listing import listing

    table = listing(what, spec, search)
    if not (table or as_json):
        return print(f"nothing in this list contains {search!r}", file=sys.stderr)
    if what == "protocols" and not as_json:
        return print(*side_by_side(table, terminal_width()), sep="\n")
    print_table(table, as_json)


@app.command()
def show(name: NameArgument, overrides: OverridesArgument = None) -> None:
    """Print the configuration that a run or a training would have, every key with its meaning."""
    from pipeline.config.describe import commented
    from pipeline.config.load import config_names, load_config
    from pipeline.config.recipe import resolve
    from pipeline.config.training import TRAININGS, load_training

    if name in config_names(TRAININGS):
        return print(commented(load_training(name, list(overrides or []))[1]), end="")
    config = load_config(name, list(overrides or []))[1]
    with named_keys():
        print(commented(config, resolve(config).protocol), end="")


@app.command()
def doctor() -> None:
    """Show what this machine offers, to read or to paste into an issue."""
    from pipeline.shell.doctor import machine_facts

    print_table(machine_facts(), as_json=False)


@app.command()
def version(as_json: Json = False) -> None:
    """Show the versions that results depend on."""
    from pipeline.engine.prepare import versions

    print_table(versions(), as_json)


def _checked(name: str, overrides: list[str]) -> tuple[str, Config]:
    """A configuration that says nothing wrong; told before what carries it out is imported, which takes a while."""
    from pipeline.config.load import load_config
    from pipeline.config.recipe import resolve

    stem, config = load_config(name, overrides)
    with named_keys():
        resolve(config)
    return stem, config


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(masked(super().format(record)))


def main() -> None:
    """Entry point of ``wsl-pipeline``: runs a command and turns errors into one line and an exit code."""
    leave_out_current_folder()
    outlive_readers()
    arguments = [one for one in sys.argv[1:] if one != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    messages = logging.StreamHandler(sys.stderr)
    messages.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(handlers=[messages])
    logging.getLogger("wsl_pipeline").setLevel(logging.INFO)
    if not debug:
        warnings.simplefilter("ignore")  # Warnings of libraries address developers.
    try:
        with handling(interrupt):
            code = app(args=arguments, prog_name="wsl-pipeline", standalone_mode=False)
        if code:
            _leave("", code)
    except UserError as error:
        _fail(str(error), error.exit_code, debug)
    except Interruption as interruption:
        _leave("interrupted; run the same command to resume", interruption.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's own errors: an unknown option, a missing argument.
            _fail(f"{error.format_message()} See wsl-pipeline --help.", 2, debug)
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    _leave(f"error: {' '.join(message.split())}", code)


def _leave(message: str, code: int) -> None:
    if message:
        print(printable(masked(message)), file=sys.stderr, flush=True)
    sys.stdout.flush()
    if cluster := sys.modules.get("pipeline.engine.executors.cluster"):
        cluster.farewell()
    # Worker threads may be in the middle of a batch; it is not committed, so the exit does not wait for it.
    os._exit(code)
