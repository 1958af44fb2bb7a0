"""The classes of a network by its name, without its weights where the name alone says them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from stages.classes import ClassInfo, imagenet_classes
from stages.classify.sources import SOURCES, check_spec, load_network


def known_classes(spec: str, folder: Path | None = None) -> list[ClassInfo]:
    """The classes of a network in output order; empty where it does not name them.

    Args:
        spec: Name of the network, as :func:`stages.classify.sources.load_network` reads it.
        folder: Folder from which relative paths in it start; the current one where not given.

    Raises:
        ConfigurationError: Unknown network, or one that cannot be loaded.
        WeightsUnavailableError: The weights are needed and not on this machine.

    >>> known_classes("lite0")[281].name
    'tabby'
    """
    if spec in ("lite0", "lite1", "lite2"):
        return list(imagenet_classes())
    check_spec(spec)
    prefix, _, rest = spec.partition(":")
    if prefix in ("torchvision", "timm"):
        return list(import_module(SOURCES[prefix].module).classes(rest))
    return load_network(spec, folder).classes
