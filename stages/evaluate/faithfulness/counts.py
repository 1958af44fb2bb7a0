"""Faithfulness of every image, gathered shard by shard: ``update``, ``merge``, ``compute``, and conversion to text."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.batch import Batch, length
from stages.evaluate.statistics import bootstrap

Counts = dict[str, dict[str, np.ndarray]]
"""Values (n,) float32 of the images that have one, by method and metric."""


def update(rows: Batch, names: Sequence[str]) -> Counts:
    """The values of some prediction rows.

    Args:
        rows: Columns ``method`` and ``faithfulness`` (R, len(names)). May be empty.
        names: Names of the metrics.
    """
    if not length(rows):
        return {}
    found: Counts = {}
    for method in sorted(set(rows["method"])):
        values = rows["faithfulness"][rows["method"] == method]
        found[method] = {name: one[~np.isnan(one)] for name, one in zip(names, values.T, strict=True)}
    return found


def merge(a: Counts, b: Counts) -> Counts:
    """The combined counts of two disjoint sets of images."""
    merged = {method: dict(values) for method, values in a.items()}
    for method, values in b.items():
        own = merged.setdefault(method, {})
        for name, found in values.items():
            own[name] = np.concatenate([own[name], found]) if name in own else found
    return merged


def compute(values: dict[str, np.ndarray], seed: int = 0) -> dict[str, Any]:
    """The means by metric, as in ``metrics.json``; a metric without a value is absent.

    Args:
        values: Values of one method, over the whole run.
        seed: Seed of the intervals.
    """
    return {name: bootstrap.mean(found, seed) for name, found in values.items() if len(found)}


def to_json(counts: Counts) -> str:
    """The counts as compact text, equal for equal counts."""
    plain = {
        method: {name: base64.b64encode(found.astype("<f4").tobytes()).decode() for name, found in values.items()}
        for method, values in counts.items()
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Counts:
    """The counts that :func:`to_json` wrote."""
    return {
        method: {name: np.frombuffer(base64.b64decode(found), "<f4") for name, found in values.items()}
        for method, values in json.loads(text).items()
    }
