"""Faithfulness of every image, gathered shard by shard: ``update``, ``merge``, ``compute``, and text in between."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.batch import Batch, length
from stages.evaluate.statistics import bootstrap

Counts = dict[str, dict[str, np.ndarray]]
"""By method and metric: (n,) float32, the value of each image that has one."""


def update(rows: Batch, names: Sequence[str]) -> Counts:
    """The values of some prediction rows.

    Args:
        rows: Columns ``method`` and ``faithfulness`` (R, len(names)). May be empty.
        names: Of the metrics.
    """
    if not length(rows):
        return {}
    found: Counts = {}
    for method in sorted(set(rows["method"])):
        values = rows["faithfulness"][rows["method"] == method]
        found[method] = {name: one[~np.isnan(one)] for name, one in zip(names, values.T, strict=True)}
    return found


def merge(a: Counts, b: Counts) -> Counts:
    """The counts of two disjoint sets of images together."""
    merged = {method: dict(values) for method, values in a.items()}
    for method, values in b.items():
        own = merged.setdefault(method, {})
        for name, found in values.items():
            own[name] = np.concatenate([own[name], found]) if name in own else found
    return merged


def compute(values: dict[str, np.ndarray], seed: int = 0) -> dict[str, Any]:
    """By metric, as ``metrics.json`` has them; a metric without a value is absent.

    Args:
        values: Of one method, over the whole run.
        seed: Of the intervals.
    """
    return {name: bootstrap.mean(found, seed) for name, found in values.items() if len(found)}


def to_json(counts: Counts) -> str:
    """A compact text, equal for equal counts."""
    plain = {
        method: {name: base64.b64encode(found.astype("<f4").tobytes()).decode() for name, found in values.items()}
        for method, values in counts.items()
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Counts:
    """What :func:`to_json` wrote."""
    return {
        method: {name: np.frombuffer(base64.b64decode(found), "<f4") for name, found in values.items()}
        for method, values in json.loads(text).items()
    }
