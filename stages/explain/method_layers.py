"""Layers that a method explains: those of the run, or one of its own, written ``METHOD@LAYER``."""

from __future__ import annotations

from collections.abc import Sequence

from stages.classify.network import Network
from stages.errors import ConfigurationError

AT = "@"


def method_of(entry: str) -> str:
    """The explainer's name in a method entry.

    >>> method_of("gradcam@features.3"), method_of("cam")
    ('gradcam', 'cam')
    """
    return entry.partition(AT)[0]


def layers_of(network: Network, methods: Sequence[str], layer: str | Sequence[str], size: int) -> dict[str, list[str]]:
    """Dotted names of the layers that each method explains.

    Args:
        network: Network with the layers.
        methods: ``METHOD`` or ``METHOD@LAYER``.
        layer: Layers of the methods that name none: one or several, or ``last``.
        size: Side of the input in pixels.

    Raises:
        ConfigurationError: A layer is unknown, or listed twice in ``layer``.
    """
    of_run: list[str] | None = None
    found: dict[str, list[str]] = {}
    for entry in methods:
        own = entry.partition(AT)[2]
        if own:
            try:
                found[entry] = [network.resolve_layer(own, size)]
            except ConfigurationError as error:
                raise ConfigurationError(f"{entry}: {error}", about="methods") from None
        else:
            of_run = of_run or network.resolve_layers(layer, size)
            found[entry] = of_run
    return found
