"""The table of faithfulness metrics. A metric is a function of one method's maps and the network they explain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from stages.errors import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from stages.evaluate.faithfulness.explained import Explained

METRICS = {
    "adcc": "adcc",
    "average_drop": "drop",
    "average_gain": "drop",
    "coherency": "adcc",
    "complexity": "adcc",
    "deletion": "curves",
    "increase": "drop",
    "insertion": "curves",
    "road": "road",
}
"""Each metric's name and the module of this folder that defines it."""
_METRICS: dict[str, Metric] = {}

Measure = Callable[["Explained"], "Tensor"]
"""Function from the maps of one method in one batch to one value per image, (N,)."""


@dataclass(frozen=True)
class Metric:
    """A metric and its properties.

    Attributes:
        name: Name by which users ask for it.
        function: The metric itself.
        definition: Definition in one line.
        better: ``higher`` or ``lower``.
        passes: Cost for each image and method: F forward passes, M explanations of another image;
            metrics that need the same pass share it.
        source: Paper that defines it.
    """

    name: str
    function: Measure
    definition: str
    better: str
    passes: str
    source: str


def metric(name: str, *, definition: str, better: str, passes: str, source: str) -> Callable[[Measure], Measure]:
    """Register a function as a faithfulness metric; :data:`METRICS` must list its module.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Measure) -> Measure:
        if name in _METRICS:
            raise ValueError(f"two faithfulness metrics are called {name}")
        _METRICS[name] = Metric(name, function, definition, better, passes, source)
        return function

    return register


def check_metrics(names: Iterable[str]) -> None:
    """Check that every name has a faithfulness metric, without importing any of them.

    Raises:
        ConfigurationError: There is none.
    """
    for name in names:
        if name not in METRICS:
            raise unknown("faithfulness metric", name, sorted(METRICS), about="faithfulness")


def metrics() -> dict[str, Metric]:
    """All faithfulness metrics by name."""
    return {name: get_metric(name) for name in METRICS}


def get_metric(name: str) -> Metric:
    """The faithfulness metric of a name; no other module is imported.

    Raises:
        ConfigurationError: There is none.
    """
    check_metrics([name])
    import_module(f"stages.evaluate.faithfulness.{METRICS[name]}")
    return _METRICS[name]
