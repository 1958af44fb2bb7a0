"""Architectures whose explained map exists only inside a forward function, rewritten so that a module outputs it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn


class ActivatedDenseNet(nn.Module):
    """torchvision's DenseNet with its last ReLU in ``features``, where a hook sees the map that GAP reads.

    torchvision applies that ReLU as a function. Left in place after a ReLU module, it would be a second one,
    whose gradient is zero where the first gave zero.

    Args:
        module: Network whose parts become this network's.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        parts = OrderedDict(module.features.named_children())
        self.features = nn.Sequential(OrderedDict(parts, relu5=nn.ReLU(inplace=True)))
        self.classifier = module.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, S, S) images to logits (N, C)."""
        logits: Tensor = self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return logits


def adapted(module: nn.Module) -> nn.Module:
    """The same network, bit for bit, with a module behind every map that is explained."""
    # Importing torchvision takes seconds, and if it was never imported, the network is not torchvision's.
    densenet: Any = getattr(sys.modules.get("torchvision.models.densenet"), "DenseNet", None)
    return ActivatedDenseNet(module) if densenet and isinstance(module, densenet) else module
