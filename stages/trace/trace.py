"""What one forward pass of one batch saw; the rest is computed once, when a method asks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError

if TYPE_CHECKING:
    from stages.trace.cut import CutNetwork
    from stages.trace.layers import LayeredNetwork


class Trace:
    """One batch's forward pass, cut at the explained layer.

    Attributes:
        activations: (N, K, h, w) output of the explained layer. It is a leaf that requires a gradient,
            so a backward pass from the logits stops there. (Beside a shallower explained layer it hangs on
            that one's leaf.)
        logits: (N, C).
        inputs: (N, 3, S, S) what the network was given.
        network: The network, for methods that ask it again.
        asked: (N, T) classes that will be explained, where that is known; one pass may serve them all.
        kept: What was computed for all of them, see :mod:`stages.explain.all_targets`.
    """

    def __init__(
        self,
        activations: Tensor,
        logits: Tensor,
        inputs: Tensor,
        network: CutNetwork,
        shared: Gradients | None = None,
    ) -> None:
        self.activations = activations
        self.logits = logits
        self.inputs = inputs
        self.network = network
        self.asked: Tensor | None = None
        self.kept: dict[Any, Any] = {}
        self._gradients = shared or Gradients([activations])

    @property
    def head(self) -> nn.Linear | None:
        """The linear layer of a GAP + linear head on ``activations``; None for any other head."""
        return self.network.head

    @property
    def layers(self) -> list[Trace]:
        """One trace per explained layer: this."""
        return [self]

    def at(self, names: Collection[str] | None) -> Trace:
        """As of a trace of several layers: this."""
        return self

    @property
    def locations(self) -> int:
        """h w, the number of cells of a map."""
        return self.activations.shape[2] * self.activations.shape[3]

    def weights(self, target: Tensor) -> Tensor:
        """Rows w^c of the linear head for the classes ``target`` (N,): (N, K).

        Raises:
            ConfigurationError: There is no such class.
        """
        assert self.head is not None
        return self.head.weight[self._checked(target)]

    def score(self, target: Tensor) -> Tensor:
        """Logits y_c of the classes ``target`` (N,): (N,).

        Raises:
            ConfigurationError: There is no such class.
        """
        return self.logits.gather(1, self._checked(target)[:, None])[:, 0]

    def gradients(self, target: Tensor) -> Tensor:
        """d y_c / d activations, (N, K, h, w), for the classes ``target`` (N,).

        With a GAP + linear head the gradient is w^c / (h w) everywhere, and no pass is needed. With any other
        the gradients of all ``asked`` classes are kept, because every method asks for them again.
        """
        if self.head is not None:
            flat = self.weights(target) / self.locations
            return flat[:, :, None, None].expand_as(self.activations)
        room = 1 if self.asked is None else self.asked.shape[1]
        return self._gradients.of(self.activations, target, self.score(target), room)

    def gradients_of(self, score: Tensor) -> Tensor:
        """d score / d activations, (N, K, h, w), for one score per image (N,) that follows from ``logits``.

        The scores are summed over the batch: in eval mode images do not interact, so every image gets its
        own gradient from one backward pass through the head alone.
        """
        return torch.autograd.grad(score.sum(), self.activations, retain_graph=True)[0]

    def decide(self, image: int, activations: Tensor) -> Tensor:
        """(M, C) logits of the batch's image of that number, were its activations these (M, K, h, w)."""
        return self.network.decide(activations, self.inputs[image : image + 1])

    def _checked(self, target: Tensor) -> Tensor:
        count = self.logits.shape[1]
        if ((target < 0) | (target >= count)).any():
            wrong = next(one for one in target.tolist() if not 0 <= one < count)
            raise ConfigurationError(f"class {wrong} cannot be explained: the network has classes 0 to {count - 1}")
        return target


class Gradients:
    """The gradients of the last targets at one or several layers, of all layers from one backward pass.

    Args:
        activations: Of each layer, parts of one graph.
    """

    def __init__(self, activations: Sequence[Tensor]) -> None:
        self._activations = activations
        self._kept: list[tuple[Tensor, tuple[Tensor, ...]]] = []

    def of(self, activations: Tensor, target: Tensor, score: Tensor, room: int) -> Tensor:
        """d score / d activations for one of the layers.

        Args:
            activations: That layer's.
            target: (N,) classes, by which gradients are found again.
            score: (N,) of those classes.
            room: Targets that are kept; the oldest goes.
        """
        found = next((gradients for kept, gradients in self._kept if torch.equal(kept, target)), None)
        if found is None:
            found = torch.autograd.grad(score.sum(), list(self._activations), retain_graph=True)
            self._kept = [*self._kept, (target, found)][-room:]
        return next(one for layer, one in zip(self._activations, found, strict=True) if layer is activations)


class LayeredTrace:
    """One batch's forward pass, explained at several layers.

    Attributes:
        layers: One trace each, in the order of running.
        network: The network at all its layers.
    """

    head = None

    def __init__(self, layers: list[Trace], network: LayeredNetwork) -> None:
        self.layers = layers
        self.network = network

    def at(self, names: Collection[str] | None) -> Trace | LayeredTrace:
        """The same pass, explained at some of the layers; None is all of them."""
        if names is None or len(names) == len(self.layers):
            return self
        layers = [one for one in self.layers if one.network.name in names]
        return layers[0] if len(layers) == 1 else LayeredTrace(layers, self.network)

    @property
    def logits(self) -> Tensor:
        """(N, C)."""
        return self.layers[0].logits

    @property
    def inputs(self) -> Tensor:
        """(N, 3, S, S) what the network was given."""
        return self.layers[0].inputs
