"""Data of the page's charts, which the templates draw as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.report.rows import FIRST, LABEL, Overview
from stages.boxes.iou import at_least
from stages.evaluate.baselines import TITLES as BASELINES
from stages.quality.scores import judged

BINS = 20
RIGHT = 0.5
"""IoU from which on a box is right, where its quality is judged."""


@dataclass(frozen=True)
class Point:
    """A marked point of a line: a threshold, and the accuracy there."""

    threshold: float
    value: float


@dataclass(frozen=True)
class Line:
    """One method's accuracy as a function of the threshold.

    Attributes:
        name: The method, and those with the same boxes.
        style: Number of its colour and dash.
        points: (threshold, accuracy), both in [0, 1].
        used: The point at the protocol's threshold, None where that was not scored.
        best: The point at the threshold that an oracle would choose.
    """

    name: str
    style: int
    points: list[tuple[float, float]]
    used: Point | None
    best: Point


@dataclass(frozen=True)
class Curves:
    """One panel: all methods and baselines at one IoU level.

    Attributes:
        delta: IoU level.
        lines: One line per method.
        references: (name, accuracy, style) of each baseline, independent of the threshold.
    """

    delta: str
    lines: list[Line]
    references: list[tuple[str, float, str]]


@dataclass(frozen=True)
class Histogram:
    """Share of images in each of :data:`BINS` equal bins of IoU.

    Attributes:
        series: (name, style, shares) of each line.
        top: Upper end of the axis of shares.
    """

    series: list[tuple[str, int, list[float]]]
    top: float


@dataclass(frozen=True)
class Trust:
    """How well the quality of boxes tells right ones from wrong ones.

    Attributes:
        auroc: Its AUROC, with ``ci95`` and ``n``.
        right: Share of right boxes.
        kept: Shares of the boxes, the best by quality, and the share of right ones among them.
        reliability: Mean quality of groups of boxes, and the share of right ones among them.
    """

    auroc: dict[str, Any]
    right: float
    kept: list[tuple[float, float]]
    reliability: list[tuple[float, float]]


@dataclass(frozen=True)
class Bar:
    """A horizontal bar: a name, a count, and its length as a share of the longest possible bar."""

    name: str
    count: int
    share: float


def titles(methods: list[str], overview: Overview) -> dict[str, str]:
    """Titles of the methods that differ, each with the names of those that repeat its boxes."""
    alike = {method: [method] for method in methods if method not in overview.same_as}
    for method, other in overview.same_as.items():
        alike[other].append(method)
    return {method: " = ".join(names) for method, names in alike.items()}


def curves(metrics: dict[str, Any], names: dict[str, str], threshold: float) -> list[Curves]:
    """One panel per IoU level; none without a sweep.

    Args:
        metrics: The content of ``metrics.json``.
        names: The result of :func:`titles`.
        threshold: The threshold of the run's boxes.
    """
    swept = {method: metrics["methods"][method] for method in names if "box_acc_curve" in metrics["methods"][method]}
    if not swept:
        return []
    levels = [key for key in next(iter(swept.values()))["box_acc_curve"] if key != "thresholds"]
    baselines = metrics.get("baselines", {})
    panels = []
    for delta in levels:
        lines = []
        for style, (method, scores) in enumerate(swept.items()):
            curve, best = scores["box_acc_curve"], scores["max_box_acc"][delta]
            used = scores.get("gt_known_loc", {}).get(delta)
            lines.append(
                Line(
                    names[method],
                    style,
                    list(zip(curve["thresholds"], curve[delta], strict=True)),
                    Point(threshold, used["value"]) if used else None,
                    Point(best["threshold"], best["value"]),
                )
            )
        references = [
            (BASELINES[name], baselines[name][key][delta]["value"], style)
            for name, key, style in (
                ("center_gaussian", "max_box_acc", "long"),
                ("full_image", "gt_known_loc", "short"),
            )
            if delta in baselines.get(name, {}).get(key, {})
        ]
        panels.append(Curves(delta, lines, references))
    return panels


def histogram(overview: Overview, methods: list[str], names: dict[str, str]) -> Histogram | None:
    """Histogram of the IoU of the galleries' target; None where no image has ground truth."""
    series = []
    for style, (method, name) in enumerate(names.items()):
        iou = overview.of(methods.index(method), overview.rank)["iou"]
        iou = iou[~np.isnan(iou)]
        if len(iou):
            counts = np.histogram(iou, bins=BINS, range=(0, 1))[0]
            series.append((name, style, (counts / len(iou)).tolist()))
    if not series:
        return None
    highest = max(max(shares) for _, _, shares in series)
    return Histogram(series, min(1.0, np.ceil(highest * 20) / 20))


def funnel(
    metrics: dict[str, Any], overview: Overview, methods: list[str], names: dict[str, str], delta: float
) -> list[Bar]:
    """Numbers of images left after each step at which localization can fail.

    The last step has one bar for each method. Empty where the run knows no label.
    """
    images = metrics["n_images"]
    decoded = images - metrics["n_failed"]
    label_rows, first_rows = overview.of(0, LABEL), overview.of(0, FIRST)
    rows = first_rows if len(first_rows["label"]) else label_rows
    labelled = rows["label"] >= 0
    boxed = labelled & ~np.isnan(rows["iou"])
    if not images or not labelled.any():
        return []
    steps = [("images", images), ("decoded", decoded)]
    counted = boxed if boxed.any() else labelled
    if counted.sum() < decoded:
        steps.append(("with label and box" if boxed.any() else "with a label", int(counted.sum())))
    ranked = rows is first_rows
    if ranked:
        right = counted & (rows["class_index"] == rows["label"])
        steps.append(("classified right (top-1)", int(right.sum())))
    if boxed.any():
        for method, name in names.items():
            own = overview.of(methods.index(method), FIRST if ranked else LABEL)
            hit = at_least(own["iou"], (delta,))[0] & (own["class_index"] == own["label"])
            steps.append((f"localized at IoU {delta:g}: {name}", int(hit.sum())))
    return [Bar(name, count, count / images) for name, count in steps]


def trust(overview: Overview, method: int, seed: int) -> Trust | None:
    """What the quality of a method's boxes is worth.

    None where the boxes are not rated, or where there are no right and wrong ones to tell apart.
    """
    rows = overview.of(method, LABEL)
    known = (rows["label"] >= 0) & ~np.isnan(rows["iou"]) & ~np.isnan(rows["quality"])
    right = rows["iou"][known] >= RIGHT
    if not 0 < right.sum() < len(right):
        return None
    found = judged(rows["quality"][known], right, seed)
    kept = [(float(share), one["value"]) for share, one in found["kept"].items()]
    return Trust(
        found["auroc"], found["right"]["value"], kept, [(one["quality"], one["value"]) for one in found["reliability"]]
    )


def frequent_classes(overview: Overview, most: int = 20) -> list[Bar]:
    """The most frequent predicted classes."""
    counts = overview.predicted_classes()
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:most]
    return [Bar(overview.names[index], count, count / ordered[0][1]) for index, count in ordered]
