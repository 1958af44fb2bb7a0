"""The table of metrics: one row per method, and below them the baselines, which look at no pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stages.evaluate.baselines import TITLES as BASELINES
from stages.evaluate.metrics.contract import Metric
from stages.evaluate.metrics.table import METRICS, OF_CLASSES

_BETTER = {"higher": "\u2191", "lower": "\u2193"}
"""Arrows towards better values."""


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        key: Its key in ``metrics.json``.
        delta: IoU level such as ``0.5``; None where the metric has none.
    """

    key: str
    delta: str | None = None

    @property
    def metric(self) -> Metric:
        """The entry of the table of metrics."""
        return (METRICS | OF_CLASSES)[self.key]

    @property
    def title(self) -> str:
        """Display name, without the IoU level."""
        return self.metric.title

    def find(self, scores: dict[str, Any]) -> dict[str, Any] | None:
        """The metric's value, interval and n; None where it was not computed."""
        return self.metric.find(scores, self.delta)

    @property
    def unit(self) -> str:
        """Unit after a value's text: shares are in percent, a mean IoU has no unit."""
        return self.metric.unit

    def text(self, value: float) -> str:
        """Text of a value in the table."""
        return f"{100 * value:.1f}" if self.unit else f"{value:.3f}"

    def bar(self, zero_line: dict[str, Any]) -> tuple[str, float] | None:
        """Name and value of the best baseline in this metric, None where there is none.

        A score at a fixed threshold is not compared with one at a threshold that was chosen on the scored
        images.
        """
        found = self.find(zero_line)
        return (found["baseline"], found["value"]) if found else None


@dataclass(frozen=True)
class Cell:
    """A value as text, its 95 % interval, and its comparison with the zero line."""

    value: str
    interval: str
    remark: str


@dataclass(frozen=True)
class ScoreTable:
    """The rows of methods and of baselines, each with one cell or None per column."""

    columns: list[Column]
    methods: dict[str, list[Cell | None]]
    baselines: dict[str, list[Cell | None]]

    def groups(self) -> list[tuple[str, int]]:
        """Titles of adjacent columns of one metric, and the number of columns that each spans."""
        spans: dict[str, int] = {}
        for column in self.columns:
            spans[column.title] = spans.get(column.title, 0) + 1
        return list(spans.items())


def score_table(metrics: dict[str, Any], main_delta: str) -> ScoreTable:
    """Table of the localization scores that exist.

    Args:
        metrics: The content of ``metrics.json``.
        main_delta: The IoU level of metrics that have one column.
    """
    baselines, line = metrics.get("baselines", {}), metrics.get("zero_line", {})
    everybody = [*metrics["methods"].values(), *baselines.values()]
    levelled = [metric.name for metric in METRICS.values() if metric.levels]
    deltas = list(dict.fromkeys(delta for one in everybody for name in levelled for delta in one.get(name, {})))
    known = [Column(name, delta) for name, one in METRICS.items() for delta in _levels(one, deltas, main_delta)]
    columns = [column for column in known if any(column.find(one) for one in everybody)]
    return ScoreTable(
        columns,
        {name: [cell(column, one, line) for column in columns] for name, one in metrics["methods"].items()},
        {BASELINES[name]: [cell(column, one, {}) for column in columns] for name, one in baselines.items()},
    )


def _levels(metric: Metric, deltas: list[str], main_delta: str) -> list[str | None]:
    """The IoU level of each of the metric's columns, None for a metric that has none."""
    if metric.columns == "none":
        return []
    if not metric.levels:
        return [None]
    return list(deltas) if metric.columns == "all" else [main_delta]


def cell(column: Column, scores: dict[str, Any], zero_line: dict[str, Any]) -> Cell | None:
    """One metric of one method, compared with the best baseline in words."""
    found = column.find(scores)
    if not found:
        return None
    remark, bar = "", column.bar(zero_line)
    if bar:
        below, above, end = ("below", "above", 0) if column.metric.better == "higher" else ("above", "below", 1)
        name, value = BASELINES[bar[0]], bar[1]
        if column.metric.is_worse(found["value"], value):
            remark = f"{below} {name}"
        elif "ci95" in found and not column.metric.is_worse(value, found["ci95"][end]):
            remark = f"not clearly {above} {name}"
    return Cell(column.text(found["value"]), _interval(found, column.text), remark)


def faithfulness_table(metrics: dict[str, Any]) -> tuple[list[str], dict[str, list[Cell | None]]]:
    """Titles of the computed faithfulness metrics, and by method one cell or None for each."""
    found = {name: one.get("faithfulness", {}) for name, one in metrics["methods"].items()}
    names = sorted({name for one in found.values() for name in one})
    if not names:
        return [], {}
    from stages.evaluate.faithfulness.registry import get_metric

    titles = [f"{name.replace('_', ' ')} {_BETTER[get_metric(name).better]}" for name in names]
    return titles, {
        method: [
            Cell(f"{one[name]['value']:.3f}", _interval(one[name], "{:.3f}".format), "") if name in one else None
            for name in names
        ]
        for method, one in found.items()
    }


def all_scores(scores: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Every number of one method except its curve: name, value, interval, number of images."""
    lines: list[tuple[str, str, str, str]] = []
    for key, found in scores.items():
        if key not in (*METRICS, "coco", "faithfulness"):
            continue
        if key == "coco":
            lines += [(f"COCO {name}", f"{value:.4f}", "", "") for name, value in found.items()]
            continue
        for level, entry in {"": found}.items() if "value" in found else found.items():
            name = f"{key} {level}".strip()
            if "threshold" in entry:
                name += f" (at threshold {entry['threshold']:g})"
            lines.append((name, f"{entry['value']:.4f}", _interval(entry, "{:.4f}".format), str(entry["n"])))
    return lines


def _interval(estimate: dict[str, Any], text: Callable[[float], str]) -> str:
    return " \u2013 ".join(map(text, estimate.get("ci95", [])))
