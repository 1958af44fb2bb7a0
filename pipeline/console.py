"""What people see on stderr: progress while a run goes on, the scores when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.run import Progress

LINE_EVERY = 30.0
"""Seconds between progress lines where there is no terminal."""

console = Console(stderr=True, highlight=False)
if not console.is_terminal:
    console.width = 120  # A log file has no width; 80 would fold the table.


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


def show_scores(metrics: dict[str, Any], out: Path) -> None:
    """A table of the methods beside the baselines, and where the page is."""
    table = Table(
        title=f"{metrics['n_images']} images, {metrics['n_failed']} failed, protocol {metrics['protocol']}",
        box=SIMPLE,
    )
    table.add_column("")
    deltas = sorted({delta for scores in _all(metrics).values() for delta in scores.get("gt_known_loc", {})})
    delta = "0.5" if "0.5" in deltas else next(iter(deltas), "")
    columns = {
        f"GT-known@{delta}": ("gt_known_loc", delta),
        f"top-1 loc@{delta}": ("top1_loc", delta),
        f"top-5 loc@{delta}": ("top5_loc", delta),
        "mean IoU": ("mean_iou",),
        f"MaxBoxAcc@{delta}": ("max_box_acc", delta),
        "MaxBoxAccV2": ("max_box_acc_v2",),
    }
    used = {name: path for name, path in columns.items() if any(_at(scores, path) for scores in _all(metrics).values())}
    for name in used:
        table.add_column(name, justify="right")
    for row, scores in _all(metrics).items():
        table.add_row(row, *(_cell(_at(scores, path)) for path in used.values()))
    if used:
        console.print(table)
    for name, score in metrics.get("classification", {}).items():
        console.print(f"{name.replace('top', 'top-')} classification  {_cell(score)}")
    if metrics["n_failed"]:
        console.print(f"{metrics['n_failed']} images failed: {out / 'errors'}", soft_wrap=True)
    console.print(f"page: {out / 'report' / 'index.html'}", soft_wrap=True)


def _all(metrics: dict[str, Any]) -> dict[str, dict]:
    return {**metrics["methods"], **metrics.get("baselines", {})}


def _at(scores: dict, path: tuple[str, ...]) -> dict | None:
    found: Any = scores
    for key in path:
        found = found.get(key, {})
    return found or None


def _cell(score: dict | None) -> str:
    if score is None:
        return ""
    low, high = score.get("ci95", (None, None))
    return f"{score['value']:.3f}" + (f" ±{(high - low) / 2:.3f}" if low is not None else "")
