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
"""The maps of one method in one batch to one value an image, (N,)."""


@dataclass(frozen=True)
class Metric:
    """A metric and what is to be known about it.

    Attributes:
        name: By which users ask for it.
        function: The metric itself.
        definition: One line.
        better: ``higher`` or ``lower``.
        passes: What it costs for each image and method: F forward passes, M explanations of another image;
            metrics that need the same pass share it.
        source: Paper.
    """

    name: str
    function: Measure
    definition: str
    better: str
    passes: str
    source: str


def metric(name: str, *, definition: str, better: str, passes: str, source: str) -> Callable[[Measure], Measure]:
    """Register a function as a faithfulness metric; :data:`METRICS` must say where it stands.

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
    """See that there is a faithfulness metric of every name, without importing any of them.

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
    """The faithfulness metric of that name, whose module alone is imported.

    Raises:
        ConfigurationError: There is none.
    """
    check_metrics([name])
    import_module(f"stages.evaluate.faithfulness.{METRICS[name]}")
    return _METRICS[name]
