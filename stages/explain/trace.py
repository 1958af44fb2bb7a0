"""What one forward pass of one batch saw; the rest is computed once, when a method asks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Trace:
    """One batch's forward pass, cut at the explained layer.

    Attributes:
        activations: (N, K, h, w) output of the explained layer. It is a leaf that requires a gradient,
            so a backward pass from the logits stops there.
        logits: (N, C).
        head: The linear layer of a GAP + linear head on ``activations``; None for any other head.
    """

    def __init__(self, activations: Tensor, logits: Tensor, head: nn.Linear | None) -> None:
        self.activations = activations
        self.logits = logits
        self.head = head

    def weights(self, target: Tensor) -> Tensor:
        """Rows w^c of the linear head for the classes ``target`` (N,): (N, K)."""
        assert self.head is not None
        return self.head.weight[target]

    def gradients(self, target: Tensor) -> Tensor:
        """d logit_c / d activations, (N, K, h, w), for the classes ``target`` (N,).

        The logits are summed over the batch: in eval mode images do not interact, so every image gets
        its own gradient from one backward pass through the head alone. With a GAP + linear head the
        gradient is w^c / (h w) everywhere, and no pass is needed.
        """
        if self.head is not None:
            height, width = self.activations.shape[2:]
            flat = self.weights(target) / (height * width)
            return flat[:, :, None, None].expand_as(self.activations)
        score = self.logits.gather(1, target[:, None]).sum()
        return torch.autograd.grad(score, self.activations, retain_graph=True)[0]
