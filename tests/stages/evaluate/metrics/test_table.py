"""The table of metrics: what a row promises, and that no two are alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages.evaluate.guesses import DECIDING
from stages.evaluate.metrics.contract import by_name
from stages.evaluate.metrics.table import COMPOSITES, METRICS, OF_CLASSES, counters


def test_names_and_titles_are_unique() -> None:
    rows = [*METRICS.values(), *OF_CLASSES.values()]
    for names in ([one.name for one in rows], [one.title for one in rows], [one.short for one in rows if one.short]):
        assert len(set(names)) == len(names)
    assert not (METRICS.keys() | OF_CLASSES.keys()) & COMPOSITES.keys()
    known = METRICS["gt_known_loc"]
    with pytest.raises(ValueError, match="two metrics are called gt_known_loc"):
        by_name(known, replace(known, title="Another"))


def test_every_counter_is_known_by_its_own_name() -> None:
    assert all(counters()[metric.counter.name] is metric.counter for metric in METRICS.values())
    assert {metric.paired for metric in METRICS.values()} == {None, *DECIDING}


def test_an_entry_is_found_by_its_level() -> None:
    known, mean = METRICS["gt_known_loc"], METRICS["mean_iou"]
    scores = {"gt_known_loc": {"0.5": {"value": 0.6}}, "mean_iou": {"value": 0.4}}
    assert known.find(scores, "0.5") == {"value": 0.6} and known.find(scores, "0.7") is None
    assert mean.find(scores, "0.5") == mean.find(scores) == {"value": 0.4} and mean.find({}) is None
    lower = replace(mean, better="lower")
    assert mean.is_worse(0.3, 0.4) and lower.is_worse(0.4, 0.3)
    assert not mean.is_worse(0.4, 0.4) and not lower.is_worse(0.4, 0.4)
