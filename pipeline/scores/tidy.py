"""All numbers of a run as one table: a row for each metric, method and IoU level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from stages.evaluate.metrics.strata import GROUPS
from stages.evaluate.metrics.table import METRICS, OF_CLASSES


class ScoreRow(NamedTuple):
    """One number.

    Attributes:
        method: The method or baseline; None for the classification, which methods share.
        metric: Key in ``metrics.json``, with the names below it: ``coco.AP50``, ``clsloc_error.top1``,
            ``faithfulness.adcc``, ``strata.size.small``.
        level: IoU level, None where the metric has none.
        value: A share in [0, 1], or the number itself, depending on the metric's unit.
        low: Lower end of the 95 % interval; None where there is no interval.
        high: Upper end of the interval.
        n: Number of images; None where the metric does not count them.
        threshold_from: Source of the threshold of the boxes: ``protocol``, ``calibration`` or ``oracle``;
            None where no single one was chosen.
        baseline: Whether the row belongs to a predictor that looks at no pixel.
    """

    method: str | None
    metric: str
    level: float | None
    value: float
    low: float | None
    high: float | None
    n: int | None
    threshold_from: str | None
    baseline: bool = False


def tidy(metrics: dict[str, Any]) -> list[ScoreRow]:
    """The numbers of ``metrics.json``: those of the classification, then of each method and each baseline.

    Args:
        metrics: The content of ``metrics.json``, of this version or an earlier one.

    Returns:
        One row per number, in the order of the table of metrics.

    >>> scores = {"gt_known_loc": {"0.5": {"value": 0.6, "ci95": [0.5, 0.7], "n": 90}}}
    >>> [list(row) for row in tidy({"methods": {"cam": scores}})]
    [['cam', 'gt_known_loc', 0.5, 0.6, 0.5, 0.7, 90, 'protocol', False]]
    """
    rows = [
        row
        for name, one in OF_CLASSES.items()
        for row in _rows(None, name, metrics.get("classification", {}).get(name, {}), one.threshold_from)
    ]
    for method, scores in metrics["methods"].items():
        rows += _of_method(method, scores)
    for name, scores in metrics.get("baselines", {}).items():
        rows += [row._replace(baseline=True) for row in _of_method(name, scores)]
    return rows


def _of_method(method: str, scores: dict[str, Any]) -> Iterator[ScoreRow]:
    for name, metric in METRICS.items():
        yield from _rows(method, name, scores.get(name, {}), metric.threshold_from)
    for kind in GROUPS:
        for name, levels in scores.get("strata", {}).get(kind, {}).items():
            yield from _rows(method, f"strata.{kind}.{name}", levels, METRICS["gt_known_loc"].threshold_from)
    for name, value in scores.get("coco", {}).items():
        yield from _rows(method, f"coco.{name}", {"value": value}, "protocol")
    for name, score in scores.get("faithfulness", {}).items():
        yield from _rows(method, f"faithfulness.{name}", score, None)


def _rows(method: str | None, metric: str, found: dict[str, Any], chosen: str | None) -> Iterator[ScoreRow]:
    """The rows of one entry: a number, or numbers by IoU level or by name."""
    if "value" in found:
        low, high = found.get("ci95", (None, None))
        yield ScoreRow(method, metric, None, found["value"], low, high, found.get("n"), chosen)
        return
    for key, one in found.items():
        for row in _rows(method, metric, one, chosen):
            yield row._replace(level=float(key)) if key[:1].isdigit() else row._replace(metric=f"{metric}.{key}")
