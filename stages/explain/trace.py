"""What one forward pass of one batch saw; the rest is computed once, when a method asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from stages.classify.cut import CutNetwork


class Trace:
    """One batch's forward pass, cut at the explained layer.

    Attributes:
        activations: (N, K, h, w) output of the explained layer. It is a leaf that requires a gradient,
            so a backward pass from the logits stops there.
        logits: (N, C).
        inputs: (N, 3, S, S) what the network was given.
        network: The network, for methods that ask it again.
    """

    def __init__(self, activations: Tensor, logits: Tensor, inputs: Tensor, network: CutNetwork) -> None:
        self.activations = activations
        self.logits = logits
        self.inputs = inputs
        self.network = network

    @property
    def head(self) -> nn.Linear | None:
        """The linear layer of a GAP + linear head on ``activations``; None for any other head."""
        return self.network.head

    @property
    def locations(self) -> int:
        """h w, the number of cells of a map."""
        return self.activations.shape[2] * self.activations.shape[3]

    def weights(self, target: Tensor) -> Tensor:
        """Rows w^c of the linear head for the classes ``target`` (N,): (N, K)."""
        assert self.head is not None
        return self.head.weight[target]

    def score(self, target: Tensor) -> Tensor:
        """Logits y_c of the classes ``target`` (N,): (N,)."""
        return self.logits.gather(1, target[:, None])[:, 0]

    def gradients(self, target: Tensor) -> Tensor:
        """d y_c / d activations, (N, K, h, w), for the classes ``target`` (N,).

        With a GAP + linear head the gradient is w^c / (h w) everywhere, and no pass is needed.
        """
        if self.head is not None:
            flat = self.weights(target) / self.locations
            return flat[:, :, None, None].expand_as(self.activations)
        return self.gradients_of(self.score(target))

    def gradients_of(self, score: Tensor) -> Tensor:
        """d score / d activations, (N, K, h, w), for one score per image (N,) that follows from ``logits``.

        The scores are summed over the batch: in eval mode images do not interact, so every image gets its
        own gradient from one backward pass through the head alone.
        """
        return torch.autograd.grad(score.sum(), self.activations, retain_graph=True)[0]
