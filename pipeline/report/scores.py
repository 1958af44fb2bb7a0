"""Metrics as a table: one row a method, the predictors that look at no pixel below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BASELINES = {"full_image": "whole image", "center_gaussian": "centre Gaussian", "random": "random box"}

_AT_LEVELS = ("gt_known_loc", "max_box_acc")
"""Accuracies at an IoU level that baselines have, too."""

_TITLES = {
    "gt_known_loc": "GT-known localization",
    "top1_loc": "Top-1 localization",
    "top5_loc": "Top-5 localization",
    "mean_iou": "Mean IoU",
    "gt_known_loc_calibrated": "GT-known, calibrated threshold",
    "corloc": "CorLoc",
    "pointing_game": "Pointing game",
    "energy_pointing_game": "Energy pointing game",
    "pxap": "PxAP",
    "max_box_acc": "MaxBoxAcc (oracle threshold)",
    "max_box_acc_v2": "MaxBoxAccV2 (oracle thresholds)",
    "top1": "Top-1 classification",
    "top5": "Top-5 classification",
}


_BETTER = {"higher": "\u2191", "lower": "\u2193"}
"""Where the better values lie."""


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        key: In ``metrics.json``.
        delta: IoU level such as ``0.5``; None where the metric has none.
    """

    key: str
    delta: str | None = None

    @property
    def title(self) -> str:
        """Name for people, without the IoU level."""
        return _TITLES[self.key]

    def find(self, scores: dict[str, Any]) -> dict[str, Any] | None:
        """The metric's value, interval and n; None where it was not computed."""
        found = scores.get(self.key)
        return found.get(self.delta) if found and self.delta else found

    @property
    def unit(self) -> str:
        """What a value's text is followed by: shares are in percent, a mean IoU is not."""
        return "" if self.key == "mean_iou" else "%"

    def text(self, value: float) -> str:
        """A value as the table shows it."""
        return f"{100 * value:.1f}" if self.unit else f"{value:.3f}"

    def bar(self, zero_line: dict[str, Any]) -> tuple[str, float] | None:
        """Name and value of the best baseline in this metric, None where there is none.

        Only like is compared with like: a score at a fixed threshold is not held against one at a
        threshold that was chosen on the scored images.
        """
        found = self.find(zero_line)
        return (found["baseline"], found["value"]) if found else None


@dataclass(frozen=True)
class Cell:
    """A value as text, its 95 % interval, and how it compares with the zero line."""

    value: str
    interval: str
    remark: str


@dataclass(frozen=True)
class ScoreTable:
    """The rows of methods and of baselines, one cell or None a column."""

    columns: list[Column]
    methods: dict[str, list[Cell | None]]
    baselines: dict[str, list[Cell | None]]

    def groups(self) -> list[tuple[str, int]]:
        """Titles of neighbouring columns of one metric, and how many columns they span."""
        spans: dict[str, int] = {}
        for column in self.columns:
            spans[column.title] = spans.get(column.title, 0) + 1
        return list(spans.items())


def score_table(metrics: dict[str, Any], main_delta: str) -> ScoreTable:
    """The localization scores that exist.

    Args:
        metrics: What ``metrics.json`` holds.
        main_delta: The IoU level at which top-1 and top-5 localization are shown.
    """
    baselines, line = metrics.get("baselines", {}), metrics.get("zero_line", {})
    everybody = [*metrics["methods"].values(), *baselines.values()]
    deltas = list(dict.fromkeys(d for one in everybody for key in _AT_LEVELS for d in one.get(key, {})))
    known = [Column("gt_known_loc", delta) for delta in deltas]
    known += [Column("top1_loc", main_delta), Column("top5_loc", main_delta), Column("mean_iou")]
    known += [Column("corloc", main_delta)]
    known += [Column("gt_known_loc_calibrated", delta) for delta in deltas]
    known += [Column("max_box_acc", delta) for delta in deltas] + [Column("max_box_acc_v2")]
    known += [Column("pointing_game"), Column("energy_pointing_game"), Column("pxap")]
    columns = [column for column in known if any(column.find(one) for one in everybody)]
    return ScoreTable(
        columns,
        {name: [cell(column, one, line) for column in columns] for name, one in metrics["methods"].items()},
        {BASELINES[name]: [cell(column, one, {}) for column in columns] for name, one in baselines.items()},
    )


def cell(column: Column, scores: dict[str, Any], zero_line: dict[str, Any]) -> Cell | None:
    """One metric of one method, compared with the best baseline in words."""
    found = column.find(scores)
    if not found:
        return None
    remark, bar = "", column.bar(zero_line)
    if bar and found["value"] < bar[1]:
        remark = f"below {BASELINES[bar[0]]}"
    elif bar and "ci95" in found and found["ci95"][0] <= bar[1]:
        remark = f"not clearly above {BASELINES[bar[0]]}"
    return Cell(column.text(found["value"]), _interval(found, column.text), remark)


def faithfulness_table(metrics: dict[str, Any]) -> tuple[list[str], dict[str, list[Cell | None]]]:
    """Titles of the faithfulness metrics that were computed, and one cell or None for each by method."""
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
    """Every number of one method but its curve: name, value, interval, number of images."""
    lines: list[tuple[str, str, str, str]] = []
    for key, found in scores.items():
        if key in ("box_acc_curve", "box_status", "same_map_as", "strata", "losses"):
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
