"""Output for people on stderr: progress during a run, and the scores at its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.store.rundir import RunDir
from stages.evaluate.metrics.contract import Metric
from stages.evaluate.metrics.table import METRICS, OF_CLASSES
from stages.ingest.paths import join
from stages.printable import printable

if TYPE_CHECKING:
    from pipeline.engine.progress import Progress

LINE_EVERY = 30.0
"""Seconds between progress lines without a terminal."""

Row = tuple[dict[str, Any], dict[str, Any]]
"""Scores of a method or a baseline, and the zero line that they are compared with."""

_STYLES: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"


class _Console(Console):
    """A console on which names of strangers cannot move the cursor."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a line, a title or a cell."""
        return super().render_str(printable(text), **options)


console = _Console(stderr=True, highlight=False, markup=False, color_system=_STYLES)
if not console.is_terminal:
    console.width = 140  # A log file has no width; 80 would fold the table.


@contextmanager
def watching(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A callback that shows progress: one bar on a terminal, a line every 30 s elsewhere."""
    if quiet:
        yield lambda progress: None
    elif console.is_terminal:
        with _bar() as show:
            yield show
    else:
        yield _Lines()


class _Lines:
    def __init__(self) -> None:
        self.last: float | None = None

    def __call__(self, progress: Progress) -> None:
        if self.last is None:
            self.last = time.monotonic()
        elif time.monotonic() - self.last >= LINE_EVERY:
            self.last = time.monotonic()
            print(f"{progress.done}/{progress.images} images, {_rates(progress)}", file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rates]}")
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, rates="loading the network")

        def show(progress: Progress) -> None:
            bar.update(task, total=progress.images, completed=progress.done, rates=_rates(progress))

        yield show


def _rates(progress: Progress) -> str:
    if not progress.seconds or not progress.computed:
        return f"{progress.failed} failed"
    rate = progress.computed / progress.seconds
    left = int((progress.images - progress.done) / rate)
    return f"{rate:.1f} images/s, {progress.failed} failed, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


def show_scores(metrics: dict[str, Any], out: str | None = None) -> None:
    """Print a table of the methods and the baselines, and the location of the page, if scores were kept."""
    table = Table(
        title=f"{metrics['n_images']} images, {metrics['n_failed']} failed, protocol {metrics['protocol']}",
        box=SIMPLE,
    )
    _add_scores(table, _all(metrics), _milliseconds(out) if out else {})
    if table.columns:
        console.print(table)
    _show_faithfulness(metrics)
    for name, score in metrics.get("classification", {}).items():
        console.print(f"{OF_CLASSES[name].short}  {_cell(score)}")
    if out is None:
        return
    if metrics["n_failed"]:
        failed = f"{metrics['n_failed']} images failed: {join(out, 'errors')}"
        console.print(f"{failed}; --retry-failed computes their shards again", soft_wrap=True)
    console.print(f"page: {join(out, 'report/index.html')}", soft_wrap=True)


def end_with_failures(metrics: dict[str, Any], most: float, out: str) -> None:
    """End with exit code 4 where more images failed than may.

    Args:
        metrics: Has ``n_images`` and ``n_failed``.
        most: ``runtime.max_failures``.
        out: Where the errors are.
    """
    share = metrics["n_failed"] / max(metrics["n_images"], 1)
    if share > most:
        console.print(
            f"error: {share:.1%} of the images failed, more than runtime.max_failures={most}; see {out}/errors",
            soft_wrap=True,
        )
        raise typer.Exit(4)


def show_training(metrics: dict[str, Any], out: str, fit: str) -> None:
    """Print what a training has come to, and how its network is used.

    Args:
        metrics: The content of ``metrics.json``.
        out: The training's directory.
        fit: How its images were made square.
    """
    training, images = metrics["training"], metrics["training"]["images"]
    console.print(
        f"{images['train']} images, {metrics['n_failed']} failed; best after {training['best_epoch']} of "
        f"{training['epochs']} epochs, by {images['validation']} others"
    )
    for name, score in metrics["classification"].items():
        console.print(f"{OF_CLASSES[name].short}  {_cell(score)} of {score['n']} test images")
    if boxes := metrics["methods"].get("box"):
        console.print(f"GT-known at IoU 0.5  {_cell(boxes['gt_known_loc']['0.5'])}")
        console.print(f"mean IoU  {_cell(boxes['mean_iou'])}")
    guess = metrics["baselines"]["most_frequent_class"]["top1"]
    console.print(f"always the most frequent class  {_cell(guess)}")
    console.print(f"page: {join(out, 'report/index.html')}", soft_wrap=True)
    square = "" if fit == "squash" else f" model.fit={fit}"
    console.print(f"use it: wsl-pipeline run NAME model.spec={join(out, 'model.pt')}{square}", soft_wrap=True)


def show_study(found: dict[str, Any]) -> None:
    """Print the trainings of a study in one table, each compared with the first."""
    title = "top-1 classification of the test images, and differences from the first [95 %]"
    table = Table(
        "", "top-1", "first", "this", "difference", "McNemar p", "n", "", "parameters", title=title, box=SIMPLE
    )
    for one in found["trainings"]:
        differs = found["differences"].get(one["variant"])
        cells = _difference(differs) if differs else [""] * 6
        score = one["classification"]["top1"]
        table.add_row(one["variant"], _cell(score), *cells, f"{one['training']['parameters']:,}")
    console.print(table)
    console.print(f"page: {join(found['run_dir'], 'report/index.html')}", soft_wrap=True)


def show_variants(results: list[dict[str, Any]]) -> None:
    """Print one table of the same maps scored by several rules.

    Args:
        results: The ``metrics.json`` of each variant, with its ``variant`` and ``run_dir``.
    """
    if len(results) == 1:
        show_scores(results[0], results[0]["run_dir"])
        return
    table = Table(title=f"{results[0]['n_images']} images, {results[0]['n_failed']} failed", box=SIMPLE)
    _add_scores(table, {f"{one['variant']}  {row}": scored for one in results for row, scored in _all(one).items()})
    console.print(table)
    for one in results:
        console.print(f"{one['variant']}: {one['run_dir']}", soft_wrap=True)


def show_differences(found: dict[str, Any]) -> None:
    """Print the result of :func:`pipeline.commands.compare.compare`: a row for each metric of each pair."""
    title = f"differences, protocol {found['protocol']} {found['protocol_fingerprint']}"
    table = Table("", "", "first", "second", "difference [95 %]", "McNemar p", "n", "", title=title, box=SIMPLE)
    for pair in found["pairs"]:
        title = f"{pair['a']} → {pair['b']}"
        for name, scores in pair["metrics"].items():
            for level, score in scores.items() if METRICS[name].levels else {"": scores}.items():
                table.add_row(title, _column(METRICS[name], level), *_difference(score))
                title = ""
        table.add_section()
    console.print(table)
    if left_out := max(pair["unpaired"] for pair in found["pairs"]):
        console.print(f"up to {left_out} images a pair are left out: only one of the two was scored on them")


def show_quality(found: dict[str, Any]) -> None:
    """Print the result of :func:`pipeline.commands.quality.quality`: a table for each judgement."""
    meaning = "a probability" if found["calibrated"] else "a rank, no probability: it was not fitted on such images"
    console.print(f"quality by {printable(found['model'])}; it is {meaning}", soft_wrap=True)
    for name, title in (("fitted", "on the boxes of the fit, each by a model of others"), ("judged", "on this run")):
        if name in found:
            table = Table("best share", "mean quality of its worst tenth", "right [95 %]", title=title, box=SIMPLE)
            curve = found[name]["reliability"][::-1]
            for (share, right), own in zip(found[name]["kept"].items(), curve, strict=False):
                table.add_row(share, f"{own['quality']:.3f}", _cell(right))
            console.print(table)
            area = found[name].get("auroc")
            console.print(f"AUROC {_cell(area)}, " * bool(area) + f"calibration error {found[name]['ece']:.3f}")
    if "note" in found:
        console.print(found["note"], soft_wrap=True)


def _difference(score: dict[str, Any]) -> list[str]:
    low, high = score["ci95"]
    identical = not (score["difference"] or low or high)
    return [
        f"{score['a']:.3f}",
        f"{score['b']:.3f}",
        f"{score['difference']:+.3f} [{low:+.3f}, {high:+.3f}]",
        f"{score['mcnemar_p']:.3g}" if "mcnemar_p" in score else "",
        str(score["n"]),
        "same" if identical else "noise" if score["noise"] else "differs",
    ]


def _milliseconds(out: str) -> dict[str, float]:
    """Milliseconds of each method, from ``run.json``: of one worker, for one image and all its classes."""
    info, prefix = RunDir(out).info(), "explain/"
    if not info.computed_images:
        return {}
    spent = {name.removeprefix(prefix): value for name, value in info.seconds.items() if name.startswith(prefix)}
    return {name: 1000 * value / info.computed_images for name, value in spent.items()}


def _add_scores(table: Table, rows: dict[str, Row], milliseconds: dict[str, float] | None = None) -> None:
    """Add columns for the scores that any row has, and for the cost; nothing where no row has a score.

    Args:
        table: A table without columns.
        rows: Scores, with the zero line below which they are marked.
        milliseconds: Milliseconds per image, by row.
    """
    deltas = sorted({delta for scores, _ in rows.values() for delta in scores.get("gt_known_loc", {})})
    delta = "0.5" if "0.5" in deltas else next(iter(deltas), "")
    columns = [one for one in METRICS.values() if one.short and any(one.find(row, delta) for row, _ in rows.values())]
    if not columns:
        return
    table.add_column("")
    for one in columns:
        oracle = "\n(oracle)" if one.threshold_from == "oracle" else ""
        table.add_column(_column(one, delta) + oracle, justify="right")
    if milliseconds:
        table.add_column("ms/image", justify="right")
    for name, (scores, line) in rows.items():
        if "same_map_as" in scores:
            table.add_row(f"{name}: same map as {scores['same_map_as']}")
            continue
        cost = [f"{milliseconds[name]:.3g}" if name in milliseconds else ""] if milliseconds else []
        below = [_below(one, delta, scores, line) for one in columns]
        cells = [_cell(one.find(scores, delta), mark) for one, mark in zip(columns, below, strict=True)]
        table.add_row(name, *cells, *cost)
    if any(_below(one, delta, *row) for row in rows.values() for one in columns):
        table.caption = "* below the best predictor that looks at no pixel: such a method explains nothing"


def _column(metric: Metric, level: str) -> str:
    """Title of a metric's column or row, with its IoU level where it has one."""
    return f"{metric.short}@{level}" if metric.levels else str(metric.short)


def _show_faithfulness(metrics: dict[str, Any]) -> None:
    """Print the faithfulness of the methods, where it was computed."""
    found = {
        method: scores["faithfulness"] for method, scores in metrics["methods"].items() if "faithfulness" in scores
    }
    names = sorted({name for scores in found.values() for name in scores})
    if not names:
        return
    table = Table(title="faithfulness of the first prediction's map", box=SIMPLE)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for method, scores in found.items():
        table.add_row(method, *(_cell(scores.get(name)) for name in names))
    console.print(table)


def show_sanity(found: dict[str, Any]) -> None:
    """Print the similarity of maps to those of another class, of the mirrored image and of shuffled networks."""
    table = Table(
        title=f"likeness of the first prediction's map, {found['images']} images, layer {found['layer']}",
        caption="1: the same. Only the mirrored image should keep it.",
        box=SIMPLE,
    )
    for title in ("", "compared with the map of"):
        table.add_column(title)
    measures = {"pearson": "Pearson", "spearman": "|Spearman|", "ssim": "SSIM", "hog": "HOG"}
    for title in measures.values():
        table.add_column(title, justify="right")
    for method, scores in found["methods"].items():
        stages = [(f"shuffled down to {one['stage']}", one) for one in scores["randomization"]]
        rows = [("another class", scores["class_sensitivity"]), ("the mirrored image", scores["flip_consistency"])]
        for position, (what, one) in enumerate([*rows, *stages]):
            table.add_row("" if position else method, what, *(_cell(one.get(name)) for name in measures))
        table.add_section()
    console.print(table)


def _all(metrics: dict[str, Any]) -> dict[str, Row]:
    """Scores of methods and baselines by name, each with its zero line."""
    line = metrics.get("zero_line", {})
    methods = {name: (scores, line) for name, scores in metrics["methods"].items()}
    return {**methods, **{name: (scores, {}) for name, scores in metrics.get("baselines", {}).items()}}


def _below(metric: Metric, level: str, scores: dict[str, Any], line: dict[str, Any]) -> bool:
    """Whether a row is worse than the zero line."""
    score, bar = metric.find(scores, level), metric.find(line, level)
    return bool(score and bar and metric.is_worse(score["value"], bar["value"]))


def _cell(score: dict[str, Any] | None, below: bool = False) -> str:
    if score is None:
        return ""
    low, high = score.get("ci95", (None, None))
    mark = "*" if below else ""
    return f"{score['value']:.3f}{mark}" + (f" ±{(high - low) / 2:.3f}" if low is not None else "")
