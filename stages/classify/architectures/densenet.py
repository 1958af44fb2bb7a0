"""Architectures whose explained map exists only inside a forward function, rewritten so that a module gives it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn


class ActivatedDenseNet(nn.Module):
    """torchvision's DenseNet with its last ReLU in ``features``, where a hook sees the map that GAP reads.

    torchvision applies that ReLU as a function. Left there behind a module of its own it would be a second
    one, whose gradient is zero where the first gave zero.

    Args:
        module: Its parts become this network's.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        parts = OrderedDict(module.features.named_children())
        self.features = nn.Sequential(OrderedDict(parts, relu5=nn.ReLU(inplace=True)))
        self.classifier = module.classifier

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to logits (N, C)."""
        logits: Tensor = self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return logits


def adapted(module: nn.Module) -> nn.Module:
    """The same network, bit for bit, with a module behind every map that is explained."""
    # Importing torchvision takes seconds, and where it is not imported, the network is not torchvision's.
    densenet: Any = getattr(sys.modules.get("torchvision.models.densenet"), "DenseNet", None)
    return ActivatedDenseNet(module) if densenet and isinstance(module, densenet) else module
