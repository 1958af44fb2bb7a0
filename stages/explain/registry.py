"""The table of explainers. A method is a function of one forward pass and one class per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from torch import Tensor

from stages.errors import ConfigurationError, unknown
from stages.explain.trace import Trace

_FAMILIES = (
    *("ablation", "augmented", "cam", "contrast", "eigencam", "elementwise"),
    *("gradcam", "group", "opticam", "scorecam", "smooth"),
)
_EXPLAINERS: dict[str, Explainer] = {}


@dataclass(frozen=True)
class Explainer:
    """A method and what is to be known about it.

    Attributes:
        name: As in ``explain.methods``.
        function: (trace, target (N,)) to raw maps (N, h, w): before ReLU, normalisation and resizing.
        formula: One line.
        needs_linear_head: It is defined for GAP + linear heads only.
        cost: Beyond the shared forward pass: F full passes, b passes through the head alone, K channels.
            A GAP + linear head spares every b.
        source: Paper and equation.
    """

    name: str
    function: Callable[[Trace, Tensor], Tensor]
    formula: str
    needs_linear_head: bool
    cost: str
    source: str

    @property
    def needs(self) -> str:
        """What a network must offer."""
        return "GAP + linear head" if self.needs_linear_head else "any head"


def explainer(name: str, *, formula: str, source: str, cost: str = "b", needs_linear_head: bool = False) -> Callable:
    """Register a function as an explainer.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Callable[[Trace, Tensor], Tensor]) -> Callable[[Trace, Tensor], Tensor]:
        if name in _EXPLAINERS:
            raise ValueError(f"two explainers are called {name}")
        _EXPLAINERS[name] = Explainer(name, function, formula, needs_linear_head, cost, source)
        return function

    return register


def explainers() -> dict[str, Explainer]:
    """All explainers by name."""
    for family in _FAMILIES:
        import_module(f"stages.explain.{family}")
    return _EXPLAINERS


def get_explainer(name: str, has_linear_head: bool) -> Explainer:
    """The explainer of that name, checked against the network's head.

    Raises:
        ConfigurationError: There is none, or it cannot explain this network.
    """
    table = explainers()
    if name not in table:
        raise unknown("method in explain.methods:", name, sorted(table))
    if table[name].needs_linear_head and not has_linear_head:
        raise ConfigurationError(
            f"explain.methods: {name} needs a network that ends in GAP + linear after the explained layer; "
            "take gradcam, or set explain.layer to the layer before the pooling"
        )
    return table[name]
