"""Classes of images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from stages.train.tasks import Tensors


@dataclass(frozen=True)
class Classify:
    """Names what images show: ``logits`` (N, C), against ``classes`` (N, C), 1 for those that an image shows, else 0.

    Attributes:
        exclusive: Whether an image shows one class: cross-entropy over the classes, not for each of them.
    """

    exclusive: bool

    def outputs(self, head: nn.Module, maps: Tensor) -> Tensors:
        """The logits."""
        return {"logits": head(maps)}

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Cross-entropy."""
        if self.exclusive:
            return F.cross_entropy(outputs["logits"], targets["classes"])
        return F.binary_cross_entropy_with_logits(outputs["logits"], targets["classes"])

    def mirrored(self, targets: Tensors) -> Tensors:
        """The same: classes have no sides."""
        return targets

    def metrics(self, outputs: Tensors, targets: Tensors) -> dict[str, float]:
        """``accuracy``: the share of the images whose most probable class is one that they show."""
        best = outputs["logits"].argmax(1, keepdim=True)
        return {"accuracy": float(targets["classes"].gather(1, best).mean())}
