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
    """A method and its properties.

    Attributes:
        name: Name by which users ask for it.
        function: The method itself.
        formula: Formula of the map, in one line.
        needs_linear_head: Whether the method is defined for GAP + linear heads only.
        cost: Cost for one class, beyond the shared forward pass: F forward and B backward passes through the whole
            network, f and b through the head alone, K channels; "F per 256" is one pass for every 256 head passes. A
            further class of the same image costs b and B again, in Group-CAM and Opti-CAM also F, and nothing
            else. A GAP + linear head saves f and b, and the F that come with f or attention.
        source: Paper and equation.
        same_as: Method whose map it equals on a GAP + linear head.
        per_cell: Whether that map is then divided by h w.
        check: Function that tests on a traced batch whether the network is covered, and raises
            ConfigurationError if not.
        fuse: Function that fuses its maps (N, h_l, w_l) at several layers to one (N, h, w).
        fitted: Whether it is fitted to a run's maps before it explains, so that its function alone refuses.
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
    fitted: bool = False

    @property
    def needs(self) -> str:
        """Requirements on a network, for people to read."""
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
    fitted: bool = False,
) -> Callable[[Method], Method]:
    """Register a function as an explainer; :data:`stages.explain.table.METHODS` must list its module.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Method) -> Method:
        if name in _EXPLAINERS:
            raise ValueError(f"two explainers are called {name}")
        _EXPLAINERS[name] = Explainer(
            name, function, formula, needs_linear_head, cost, source, same_as, per_cell, check, fuse, fitted
        )
        return function

    return register


def explainers() -> dict[str, Explainer]:
    """All explainers by name."""
    return {name: _load(name) for name in METHODS}


def single_pass() -> dict[str, Explainer]:
    """Those that need nothing but one forward pass, by name: all but the fitted ones."""
    return {name: one for name, one in explainers().items() if not one.fitted}


def get_explainer(name: str, has_linear_head: bool) -> Explainer:
    """The explainer of a name, checked against the head that follows the explained layer.

    Args:
        name: ``METHOD`` or ``METHOD@LAYER``.
        has_linear_head: Whether the head is GAP + linear alone.

    Raises:
        ConfigurationError: There is no such explainer, or it cannot explain this network.
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
    """The explainer of a name; no other module is imported."""
    import_module(f"stages.explain.methods.{METHODS[method]}")
    return _EXPLAINERS[method]


def closed_form(name: str, has_linear_head: bool, scales: Sequence[float]) -> tuple[Explainer, bool]:
    """The method that computes the map of the named method, and whether the map is then divided by h w.

    Behind a GAP + linear head the gradient is w_k / (h w) everywhere, and methods that differ elsewhere
    coincide. Which of them computes the map depends on the network alone, never on the other methods asked for.
    At other sizes than the network's own the views' h w differ, and a mean of quotients is not a quotient of
    means.

    Raises:
        ConfigurationError: As :func:`get_explainer`.
    """
    found, divided = get_explainer(name, has_linear_head), False
    while has_linear_head and found.same_as and (list(scales) == [1.0] or not found.per_cell):
        divided |= found.per_cell
        found = _load(found.same_as)
    return found, divided


def same_maps(kinds: Mapping[str, Hashable]) -> dict[str, str]:
    """Mapping of each method to the first other one that gives the same map, up to its scale.

    Args:
        kinds: What determines each method's map, by method: the name of its :func:`closed_form`, and its layers.
    """
    first: dict[Hashable, str] = {}
    for name, kind in kinds.items():
        first.setdefault(kind, name)
    return {name: first[kind] for name, kind in kinds.items() if first[kind] != name}
