"""Counts of all metrics, of a shard, several shards or a run, and their conversion to text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.batch import Batch, length, take
from stages.errors import DataError
from stages.evaluate.metrics.classification import CLASSIFICATION
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.metrics.table import counters

Counted = dict[str, Any]
"""Counts of one method or one baseline, by the name of the counter."""


@dataclass(frozen=True)
class Counts:
    """Counts for all metrics of some images.

    Attributes:
        classification: Counts of the predictions, which all methods share; empty before the first image.
        methods: Counts by method or baseline.
    """

    classification: Counted = field(default_factory=dict)
    methods: dict[str, Counted] = field(default_factory=dict)

    def to_json(self) -> str:
        """The counts as compact text, equal for equal counts."""

        def plain(counted: Counted) -> dict[str, Any]:
            return {name: _counters()[name].to_plain(counts) for name, counts in counted.items()}

        methods = {method: plain(counted) for method, counted in sorted(self.methods.items())}
        return json.dumps({"classification": plain(self.classification), "methods": methods}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """The counts that :meth:`to_json` wrote.

        Raises:
            DataError: Another version of the program counted other things.
        """
        plain, known = json.loads(text), _counters()
        entries = [plain["classification"], *plain["methods"].values()]
        if unknown := {name for entry in entries for name in entry} - known.keys():
            raise _other_version(unknown)

        def counted(entry: Mapping[str, Any]) -> Counted:
            return {name: known[name].from_plain(counts) for name, counts in entry.items()}

        return cls(counted(plain["classification"]), {method: counted(own) for method, own in plain["methods"].items()})


def update(rows: Batch) -> Counts:
    """Count rows that hold all predictions of each of their images.

    Args:
        rows: Columns ``image_id``, ``method``, ``target_rank``, ``class_index``, ``label`` and those that the
            scoring stages add; what cannot be counted without a column that is not there is left out. Further
            components are not counted. May be empty.
    """
    if not length(rows):
        return Counts()
    if "component" in rows:
        rows = take(rows, rows["component"] == 0)
    read = {"image_id", "target_rank", "class_index", "label"}.union(*(one.reads for one in counters().values()))
    light = {name: column for name, column in rows.items() if name in read}
    by_method = {method: take(light, rows["method"] == method) for method in sorted(set(rows["method"]))}
    # Methods share one classification, so the first one's rows are taken.
    classification = CLASSIFICATION.update(next(iter(by_method.values())))
    return Counts(
        {CLASSIFICATION.name: classification},
        {
            method: {name: one.update(own) for name, one in counters().items() if own.keys() >= set(one.reads)}
            for method, own in by_method.items()
        },
    )


def merge(a: Counts, b: Counts) -> Counts:
    """The combined counts of two disjoint sets of images.

    Raises:
        DataError: Different versions of the program counted them.
    """
    both = {method: _merge(a.methods[method], b.methods[method]) for method in a.methods.keys() & b.methods.keys()}
    return Counts(_merge(a.classification, b.classification), {**a.methods, **b.methods, **both})


def _merge(a: Counted, b: Counted) -> Counted:
    if not a or not b:
        return a or b
    if different := a.keys() ^ b.keys():
        raise _other_version(different)
    return {name: _counters()[name].merge(counts, b[name]) for name, counts in a.items()}


def compute(counted: Counted, scoring: Scoring) -> dict[str, Any]:
    """The metrics of one method, of one baseline, or of the classification, as ``metrics.json`` has them.

    Args:
        counted: Counts of the whole run.
        scoring: Parameters in addition to the counts.

    Returns:
        A metric that no image counts for is absent.
    """
    found: dict[str, Any] = {}
    for name, counts in counted.items():
        found |= _counters()[name].compute(counts, scoring)
    return found


def _counters() -> dict[str, Counter[Any]]:
    return counters() | {CLASSIFICATION.name: CLASSIFICATION}


def _other_version(names: set[str]) -> DataError:
    return DataError(
        f"parts were counted by another version of this program ({', '.join(sorted(names))}); "
        "delete the predictions and run the same command again"
    )
