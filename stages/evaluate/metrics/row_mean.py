"""The mean over images of a value that one row of each has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.batch import Batch, take
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.metrics.packing import pack, unpack
from stages.evaluate.statistics import bootstrap


@dataclass(frozen=True)
class RowMean(Counter[np.ndarray]):
    """Counts a row-wise metric. Only images with a label count, by the row of their label.

    Attributes:
        name: Name of the metric.
        values: Function from rows to one value each, (n,), NaN where a row has none.
        reads: Columns that the function needs.
    """

    name: str
    values: Callable[[Batch], np.ndarray]
    reads: tuple[str, ...]

    def update(self, rows: Batch) -> np.ndarray:
        """Values (n,) float32 of the images that have one."""
        own = take(rows, (rows["target_rank"] == 0) & (rows["label"] >= 0))
        values = np.asarray(self.values(own), np.float32)
        return values[~np.isnan(values)]

    def merge(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The concatenated values of both."""
        return np.concatenate([a, b])

    def compute(self, counts: np.ndarray, scoring: Scoring) -> dict[str, Any]:
        """The mean, its interval over images, and their number."""
        return {self.name: bootstrap.mean(counts, scoring.seed)} if len(counts) else {}

    def to_plain(self, counts: np.ndarray) -> str:
        """The values as text."""
        return pack(counts)

    def from_plain(self, plain: Any) -> np.ndarray:
        """The values from their text."""
        return unpack(plain)
