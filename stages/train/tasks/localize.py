"""Classes of images, and a box around the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.train.tasks import Tensors
from stages.train.tasks.classify import Classify

BETA = 0.05
"""Difference, as a share of the image's side, from which on the loss of a box is linear."""


@dataclass(frozen=True)
class Localize:
    """Names what an image shows and boxes it: ``logits`` as :class:`Classify`, and ``boxes`` (N, 4).

    Boxes are x and y of the centre, width and height, as shares of the network's input. Images without one are
    ``boxed`` (N,) 0, else 1, and learn their class alone.

    Attributes:
        classify: The classes.
        alpha: Share of the classes in the loss, ``alpha S + (1 - alpha) R``.
    """

    classify: Classify
    alpha: float

    def outputs(self, head: nn.Module, maps: Tensor) -> Tensors:
        """The logits and the boxes."""
        return {**self.classify.outputs(head, maps), "boxes": head.get_submodule("box")(maps)}

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Cross-entropy of the classes, and the smooth L1 loss of the boxes (Girshick 2015, eq. 3)."""
        of_boxes = F.smooth_l1_loss(outputs["boxes"], targets["boxes"], reduction="none", beta=BETA).sum(1)
        boxed = targets["boxed"]
        mean = (of_boxes * boxed).sum() / boxed.sum().clamp(min=1)
        return self.alpha * self.classify.loss(outputs, targets) + (1 - self.alpha) * mean

    def mirrored(self, targets: Tensors) -> Tensors:
        """The boxes on the other side."""
        x, *others = targets["boxes"].unbind(1)
        return {**targets, "boxes": torch.stack([1 - x, *others], dim=1)}

    def metrics(self, outputs: Tensors, targets: Tensors) -> dict[str, float]:
        """``accuracy`` and, of the images with a box, ``iou``, the mean overlap with it in the input's frame."""
        found = self.classify.metrics(outputs, targets)
        rows = targets["boxed"] > 0
        overlap = _overlap(outputs["boxes"][rows], targets["boxes"][rows])
        return found | ({"iou": float(overlap.mean())} if rows.any() else {})


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (N,) of boxes (N, 4) given by centre, width and height."""
    low = [one[:, :2] - one[:, 2:] / 2 for one in (first, second)]
    high = [one[:, :2] + one[:, 2:] / 2 for one in (first, second)]
    sides = (high[0].minimum(high[1]) - low[0].maximum(low[1])).clamp(min=0)
    shared = sides.prod(1)
    union = first[:, 2:].prod(1) + second[:, 2:].prod(1) - shared
    return shared / union.clamp(min=1e-12)
