"""Contract of a metric: a row that describes a number, and a counter that produces it.

Several numbers may share a counter, as GT-known and top-1 localization do. A counter never sees a whole run:
workers ``update`` it with the rows of a shard, the counts travel as plain values, and they are merged in any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from stages.batch import Batch
from stages.boxes.protocols import Protocol

C = TypeVar("C")


@dataclass(frozen=True)
class Scoring:
    """Parameters of the metrics in addition to the counts.

    Attributes:
        protocol: Protocol under which the boxes were made and scored.
        deltas: The IoU levels that were counted.
        seed: Seed of the intervals.
        boxed: Images of the data set with a label and a box of it, decoded or not.
        calibrated: Threshold of the sweep chosen on other images, by IoU level such as ``"0.5"``; empty without
            calibration.
    """

    protocol: Protocol
    deltas: tuple[float, ...]
    seed: int = 0
    boxed: int = 0
    calibrated: Mapping[str, float] = field(default_factory=dict)


class Counter(ABC, Generic[C]):
    """Counts images for one or more metrics.

    Attributes:
        name: Name under which the counts are stored.
        reads: Columns that the counter needs; rows without them are not counted.
    """

    name: str
    reads: tuple[str, ...]

    @abstractmethod
    def update(self, rows: Batch) -> C:
        """Count rows of one method that hold all predictions of each of their images.

        Args:
            rows: Columns ``image_id``, ``target_rank`` (0 the label, 1..k the k-th prediction), ``class_index``,
                ``label`` (-1 for none) and :attr:`reads`.
        """

    @abstractmethod
    def merge(self, a: C, b: C) -> C:
        """The combined counts of two disjoint sets of images."""

    @abstractmethod
    def compute(self, counts: C, scoring: Scoring) -> dict[str, Any]:
        """Entries of ``metrics.json``, by key. A number that no image counts for is absent."""

    @abstractmethod
    def to_plain(self, counts: C) -> Any:
        """The counts as JSON values, equal for equal counts."""

    @abstractmethod
    def from_plain(self, plain: Any) -> C:
        """The counts from the result of :meth:`to_plain`."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number and its properties.

    Attributes:
        name: Key in ``metrics.json``.
        title: Name for people.
        definition: Definition in one line.
        counter: Counter that produces it.
        short: Title of its column on the console, which leaves it out where there is none.
        unit: ``%`` for a share of images that is shown in percent, nothing for a number that is shown as it is.
        better: Where better values lie.
        levels: Whether there is a value for each IoU level.
        columns: Columns in the page's table: none, one (at the level that is shown first), or one per level.
        zero_line: Whether the baselines, which ignore the pixels, have it, so that methods are compared with
            the best one.
        threshold_from: Who chose the threshold that boxes are cut at: the ``protocol``, a ``calibration`` on other
            images, or an ``oracle`` on the scored ones; None where no single one was chosen.
        paired: Whose box, of :data:`stages.evaluate.guesses.DECIDING`, makes it image by image, so that two runs can
            be compared in it: the shares of right images where it has levels, else the means of the overlaps.
    """

    name: str
    title: str
    definition: str
    counter: Counter[Any]
    short: str | None = None
    unit: Literal["%", ""] = "%"
    better: Literal["higher", "lower"] = "higher"
    levels: bool = False
    columns: Literal["none", "one", "all"] = "one"
    zero_line: bool = False
    threshold_from: Literal["protocol", "calibration", "oracle"] | None = "protocol"
    paired: Literal["label", "top1", "top5"] | None = None

    def find(self, scores: Mapping[str, Any], level: str | None = None) -> dict[str, Any] | None:
        """The metric's entry among scores as in ``metrics.json``; None where it was not computed.

        Args:
            scores: Scores of a method, of a baseline, or the zero line.
            level: An IoU level such as ``"0.5"``; ignored where the metric has no levels.
        """
        found = scores.get(self.name) or {}
        return (found.get(level) if self.levels else found) or None

    def is_worse(self, value: float, other: float) -> bool:
        """Whether a value is strictly worse than another one."""
        return value < other if self.better == "higher" else value > other


def with_truth(rows: Batch) -> np.ndarray:
    """(R,) bool: whether a row's image has a label, a ground-truth box of it, and an overlap with it."""
    boxed = np.array([len(boxes) > 0 for boxes in rows["boxes"]], bool)
    found: np.ndarray = boxed & (rows["label"] >= 0) & ~np.isnan(rows["iou"])
    return found


def by_name(*metrics: Metric) -> dict[str, Metric]:
    """A table of metrics.

    Raises:
        ValueError: Two have one name.
    """
    table: dict[str, Metric] = {}
    for one in metrics:
        if one.name in table:
            raise ValueError(f"two metrics are called {one.name}")
        table[one.name] = one
    return table
