"""The commands. They parse, call, print and choose the exit code; what they do stands elsewhere."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.errors import UserError

# Torch, ray, pyarrow and pydantic are imported inside the commands that need them: --help answers at once.

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From images with image-level labels to boxes, scores and a page.",
    epilog="Every command takes --debug, which adds the traceback to an error.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name of 'list configs', or a .yaml file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as box.threshold=0.15.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/NAME-HASH.")] = None,
    executor: Annotated[str | None, typer.Option(help="ray or inline.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first images by id.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Turn a dataset into maps, boxes and scores. The same command resumes an interrupted run."""
    from pipeline.config import load_config
    from pipeline.console import console, show_scores, watching

    changes = list(overrides or [])
    changes += [f"runtime.executor={executor}"] if executor else []
    changes += [f"data.limit={limit}"] if limit is not None else []
    stem, config = load_config(name, changes)
    out = out or Path("runs") / f"{stem}-{config.hash()[:8]}"
    if dry_run:
        from pipeline.run import preview

        return _print(preview(config) | {"run_dir": str(out)}, as_json)
    from pipeline.run import run as carry_out

    with watching(quiet) as watch:
        metrics = carry_out(config, out, watch)
    if as_json:
        print(json.dumps(metrics | {"run_dir": str(out)}))
    if not quiet:
        show_scores(metrics, out)
    share = metrics["n_failed"] / max(metrics["n_images"], 1)
    if share > config.runtime.max_failures:
        console.print(
            f"error: {share:.1%} of the images failed, more than runtime.max_failures={config.runtime.max_failures}; "
            f"see {out / 'errors'}",
            soft_wrap=True,
        )
        raise typer.Exit(4)


@app.command()
def report(
    run: RunArgument,
    dest: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
) -> None:
    """Write the page of a finished run again."""
    from pipeline.report.page import write_report
    from pipeline.rundir import RunDir

    print(write_report(RunDir(run), dest))


@app.command()
def status(run: RunArgument, as_json: Json = False) -> None:
    """Say how far a run is."""
    from pipeline.rundir import RunDir

    _print(RunDir(run).status(), as_json)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(metavar="configs|datasets|models|explainers|protocols|metrics")],
    as_json: Json = False,
) -> None:
    """List what can be named in a configuration."""
    from pipeline.listing import listing

    _print(listing(what), as_json)


@app.command()
def doctor() -> None:
    """Show what this machine offers, to read or to paste into an issue."""
    from pipeline.doctor import examine

    _print(examine(), as_json=False)


@app.command()
def version(as_json: Json = False) -> None:
    """Show the versions that results depend on."""
    from pipeline.prepare import versions

    _print(versions(), as_json)


def _print(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, ensure_ascii=False))
        return
    width = max(map(len, value), default=0)
    for key, entry in value.items():
        text = "  ".join(f"{k}={v}" for k, v in entry.items()) if isinstance(entry, dict) else entry
        print(f"{key:<{width}}  {'' if text is None else text}".rstrip())


def main() -> None:
    """Entry point of ``wsl-pipeline``: runs a command and turns errors into one line and an exit code."""
    arguments = [one for one in sys.argv[1:] if one != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("wsl_pipeline").setLevel(logging.INFO)
    if not debug:
        warnings.simplefilter("ignore")  # What libraries tell their developers.
    # Libraries have ways of their own with KeyboardInterrupt; nobody else catches this.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        code = app(args=arguments, prog_name="wsl-pipeline", standalone_mode=False)
        if code:
            _leave("", code)
    except UserError as error:
        _fail(str(error), error.exit_code, debug)
    except _InterruptedError:
        _leave("interrupted; run the same command to resume", 130)
    except Exception as error:
        if hasattr(error, "format_message"):  # The command line's own: an unknown option, a missing argument.
            _fail(f"{error.format_message()} See wsl-pipeline --help.", 2, debug)
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1, debug)


class _InterruptedError(BaseException):
    """Ctrl-C."""


def _interrupt(signum: int, frame: object) -> None:
    raise _InterruptedError


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    _leave(f"error: {' '.join(message.split())}", code)


def _leave(message: str, code: int) -> None:
    if message:
        print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    # Worker threads may be in the middle of a batch; what they compute is not committed and not waited for.
    os._exit(code)
