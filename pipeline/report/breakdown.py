"""Tables of where a method succeeds and fails: strata, error kinds, the best and worst classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stages.evaluate.metrics.losses import KINDS
from stages.evaluate.metrics.strata import GROUPS
from stages.evaluate.statistics import bootstrap

CLASSES = 5
"""Number of classes listed at each end."""


@dataclass(frozen=True)
class Row:
    """A stratum, a kind of error or a class.

    Attributes:
        name: Display name.
        n: Number of its images, None where that differs between methods.
        cells: (text, small text), one per method.
    """

    name: str
    n: int | None
    cells: list[tuple[str, str]]


def strata_rows(metrics: dict[str, Any], methods: list[str], delta: str) -> list[Row]:
    """GT-known localization by stratum, one cell per method; empty where no image has ground truth."""
    found = [metrics["methods"][method].get("strata") for method in methods]
    if not found or not all(found):
        return []
    return [
        Row(title, found[0][kind][name][delta]["n"], [_share(one[kind][name][delta]) for one in found])
        for kind, names in GROUPS.items()
        for name, title in names.items()
        if name in found[0][kind]
    ]


def error_rows(metrics: dict[str, Any], methods: list[str], delta: str) -> list[Row]:
    """Localized images, and the others by kind of error; empty without ground truth."""
    found = [metrics["methods"][method].get("losses") for method in methods]
    if not found or not all(found):
        return []

    def row(title: str, counts: list[int]) -> Row:
        return Row(
            title,
            None,
            [(f"{n:,}", f"{100 * n / one['decoded']:.1f} %") for n, one in zip(counts, found, strict=True)],
        )

    localized = row("localized", [one["localized"][delta] for one in found])
    errors = [row(title, [one["errors"][delta][kind] for one in found]) for kind, title in KINDS.items()]
    return [localized, *(one for one in errors if any(text != "0" for text, _ in one.cells))]


def class_rows(scores: dict[str, Any], delta: str, name_of: Callable[[int], str]) -> tuple[list[Row], list[Row]]:
    """The worst and the best classes of a method, at most :data:`CLASSES` each and none in both.

    Args:
        scores: Scores of the method.
        delta: IoU level.
        name_of: Name of a class by its index.

    Returns:
        The worst classes first, and the best first; among equals, the class with more images
        first. Empty where fewer than two classes have images.
    """
    table = scores.get("strata", {}).get("class")
    if not table:
        return [], []
    entries = list(zip(table["class_index"], table["n"], table["hits"][delta], strict=True))
    listed = min(CLASSES, len(entries) // 2)

    def rows(chosen: list[tuple[int, int, int]]) -> list[Row]:
        return [Row(name_of(index), n, [_share(bootstrap.proportion(hits, n))]) for index, n, hits in chosen]

    worst = sorted(entries, key=lambda one: (one[2] / one[1], -one[1], one[0]))
    best = sorted(entries, key=lambda one: (-one[2] / one[1], -one[1], one[0]))
    return rows(worst[:listed]), rows(best[:listed])


def _share(estimate: dict[str, Any]) -> tuple[str, str]:
    low, high = estimate["ci95"]
    return f"{100 * estimate['value']:.1f}", f"{100 * low:.1f} \u2013 {100 * high:.1f}"
