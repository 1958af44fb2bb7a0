"""The table of explainers. A method is a function of one forward pass and one class per image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from stages.errors import ConfigurationError
from stages.explain.method_layers import method_of
from stages.explain.table import METHODS, check_methods
from stages.trace.fuse import mean_of_maxima
from stages.trace.trace import Trace
from stages.trace.views import Fusion, Method

_EXPLAINERS: dict[str, Explainer] = {}


@dataclass(frozen=True)
class Explainer:
    """A method and what is to be known about it.

    Attributes:
        name: By which users ask for it.
        function: The method itself.
        formula: One line.
        needs_linear_head: It is defined for GAP + linear heads only.
        cost: For one class, beyond the shared forward pass: F forward and B backward passes through the whole
            network, f and b through the head alone, K channels; "F per 256" is one pass for each 256 heads'. A
            further class of the same image costs b and B again, in Group-CAM and Opti-CAM also F, and nothing
            else. A GAP + linear head spares f and b, and the F that come with f or attention.
        source: Paper and equation.
        same_as: On a GAP + linear head its map is that method's.
        per_cell: ... divided by h w.
        check: Tries on a traced batch whether the network is covered, and raises ConfigurationError if not.
        fuse: Its maps (N, h_l, w_l) at several layers to one (N, h, w).
    """

    name: str
    function: Method
    formula: str
    needs_linear_head: bool
    cost: str
    source: str
    same_as: str | None = None
    per_cell: bool = False
    check: Callable[[Trace], None] | None = None
    fuse: Fusion = mean_of_maxima

    @property
    def needs(self) -> str:
        """What a network must offer."""
        head = "GAP + linear head" if self.needs_linear_head else "any head"
        return f"{head}, network tried first" if self.check else head


def explainer(
    name: str,
    *,
    formula: str,
    source: str,
    cost: str = "b",
    needs_linear_head: bool = False,
    same_as: str | None = None,
    per_cell: bool = False,
    check: Callable[[Trace], None] | None = None,
    fuse: Fusion = mean_of_maxima,
) -> Callable[[Method], Method]:
    """Register a function as an explainer; :data:`stages.explain.methods.METHODS` must say where it stands.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Method) -> Method:
        if name in _EXPLAINERS:
            raise ValueError(f"two explainers are called {name}")
        _EXPLAINERS[name] = Explainer(
            name, function, formula, needs_linear_head, cost, source, same_as, per_cell, check, fuse
        )
        return function

    return register


def explainers() -> dict[str, Explainer]:
    """All explainers by name."""
    return {name: _load(name) for name in METHODS}


def get_explainer(name: str, has_linear_head: bool) -> Explainer:
    """The explainer of that name, checked against what follows the layer that it explains.

    Args:
        name: ``METHOD`` or ``METHOD@LAYER``.
        has_linear_head: Whether that is GAP + linear alone.

    Raises:
        ConfigurationError: There is none, or it cannot explain this network.
    """
    check_methods([name])
    found = _load(method_of(name))
    if found.needs_linear_head and not has_linear_head:
        raise ConfigurationError(
            f"{name} needs a network that ends in GAP + linear after the explained layer; "
            f"take gradcam, or explain the layer before the pooling, as in {found.name}@LAYER",
            about="methods",
        )
    return found


def _load(method: str) -> Explainer:
    """The explainer of that name, whose module alone is imported."""
    import_module(f"stages.explain.methods.{METHODS[method]}")
    return _EXPLAINERS[method]


def closed_form(name: str, has_linear_head: bool, scales: Sequence[float]) -> tuple[Explainer, bool]:
    """The method that computes the map of the one of that name, and whether it is then divided by h w.

    Behind a GAP + linear head the gradient is w_k / (h w) everywhere, and methods that differ elsewhere are
    one. Which of them computes follows from the network alone, never from what else is asked. At other sizes
    than the network's own the views' h w differ, and a mean of quotients is not a quotient of means.

    Raises:
        ConfigurationError: As :func:`get_explainer`.
    """
    found, divided = get_explainer(name, has_linear_head), False
    while has_linear_head and found.same_as and (list(scales) == [1.0] or not found.per_cell):
        divided |= found.per_cell
        found = _load(found.same_as)
    return found, divided


def same_maps(kinds: Mapping[str, Hashable]) -> dict[str, str]:
    """Method to the first of the others that gives the same map, but for its scale.

    Args:
        kinds: By method what decides on its map: the name of its :func:`closed_form`, and its layers.
    """
    first: dict[Hashable, str] = {}
    for name, kind in kinds.items():
        first.setdefault(kind, name)
    return {name: first[kind] for name, kind in kinds.items() if first[kind] != name}
