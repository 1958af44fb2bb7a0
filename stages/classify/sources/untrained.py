"""Untrained networks by name, into which weights from a file are loaded."""

from __future__ import annotations

from torch import nn

from stages.classify.network import Preprocess
from stages.errors import unknown

KNOWN = ["torchvision:NAME", "timm:NAME", "lite0", "lite1", "lite2", "nin"]


def check_architecture(spec: str) -> None:
    """Look up an architecture.

    Args:
        spec: One of :data:`KNOWN`.

    Raises:
        ConfigurationError: The architecture is unknown.
    """
    library, _, name = spec.partition(":")
    if library == "torchvision":
        from stages.classify.sources import torchvision

        torchvision.check_architecture(name)
    elif library == "timm":
        from stages.classify.sources import timm

        timm.check_architecture(name)
    elif spec not in KNOWN:
        raise unknown("arch", spec, KNOWN, about="network")


def untrained(spec: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    """A network with random weights, and the preprocessing of its published weights.

    Args:
        spec: Name that :func:`check_architecture` accepts.
        num_classes: Number of outputs C of the network.
    """
    library, _, name = spec.partition(":")
    if library == "torchvision":
        from stages.classify.sources import torchvision

        return torchvision.untrained(name, num_classes)
    if library == "timm":
        from stages.classify.sources import timm

        return timm.untrained(name, num_classes)
    if library.startswith("lite"):
        from stages.classify.sources.lite import LITES

        return LITES[library].untrained(num_classes)
    from stages.classify.architectures.nin import NetworkInNetwork

    return NetworkInNetwork(num_classes), Preprocess()
