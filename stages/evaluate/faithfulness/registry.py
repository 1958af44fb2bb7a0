"""The table of faithfulness metrics. A metric is a function of one method's maps and the network they explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from stages.errors import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from stages.evaluate.faithfulness.explained import Explained

_FAMILIES = ("adcc", "curves", "drop", "road")
_METRICS: dict[str, Metric] = {}


@dataclass(frozen=True)
class Metric:
    """A metric and what is to be known about it.

    Attributes:
        name: As in ``evaluate.faithfulness``.
        function: The maps of one method in one batch to one value an image, (N,).
        definition: One line.
        better: ``higher`` or ``lower``.
        passes: What it costs for each image and method: F forward passes, M explanations of another image;
            metrics that need the same pass share it.
        source: Paper.
    """

    name: str
    function: Callable[[Explained], Tensor]
    definition: str
    better: str
    passes: str
    source: str


def metric(name: str, *, definition: str, better: str, passes: str, source: str) -> Callable:
    """Register a function as a faithfulness metric.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Callable[[Explained], Tensor]) -> Callable[[Explained], Tensor]:
        if name in _METRICS:
            raise ValueError(f"two faithfulness metrics are called {name}")
        _METRICS[name] = Metric(name, function, definition, better, passes, source)
        return function

    return register


def metrics() -> dict[str, Metric]:
    """All faithfulness metrics by name."""
    for family in _FAMILIES:
        import_module(f"stages.evaluate.faithfulness.{family}")
    return _METRICS


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        ConfigurationError: There is none.
    """
    table = metrics()
    if name not in table:
        raise unknown("metric in evaluate.faithfulness:", name, sorted(table))
    return table[name]
