"""Tasks that heads are trained for: what a head gives for maps, its loss, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
"""Tensors of one leading length, by name: what a head gives, or what it shall give."""


class Task(Protocol):
    """What a head learns."""

    def outputs(self, head: nn.Module, maps: Tensor) -> Tensors:
        """What a head gives for (N, K, h, w) maps."""

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """The loss that is minimised, a mean over the images."""

    def mirrored(self, targets: Tensors) -> Tensors:
        """The targets of images that are mirrored, left for right."""

    def metrics(self, outputs: Tensors, targets: Tensors) -> dict[str, float]:
        """How good the outputs are, by name; shares are in [0, 1], and higher is better."""
