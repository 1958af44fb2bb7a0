"""Results of one forward pass of one batch; derived values are computed once, when a method asks for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.errors import ConfigurationError
from stages.trace.outputs import Head


class Traced(Protocol):
    """Interface of a traced network to the trace and to the methods that read it.

    :class:`stages.trace.cut.CutNetwork` implements it.
    """

    @property
    def names(self) -> Sequence[str]:
        """The explained layers, in the order of running."""

    @property
    def head(self) -> Head | None:
        """The linear layer, if GAP + linear alone follows the only layer."""

    @property
    def black(self) -> Tensor:
        """A normalised black pixel, (1, 3, 1, 1)."""

    @property
    def outputs(self) -> str:
        """What the logits stand for: ``softmax`` or ``sigmoid``."""

    def at(self, names: Collection[str]) -> Traced:
        """The same network, explained at some of the layers."""

    def trace(self, inputs: Tensor, asked: Tensor | None = None) -> Trace:
        """Run (N, 3, S, S) inputs through the network in a new pass."""

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (M, C) of (M, 3, S, S) inputs."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (..., C) of logits (..., C)."""

    def decide(self, activations: Tensor, image: Tensor | None = None) -> Tensor:
        """Logits (M, C) with the only layer's output replaced by ``activations`` (M, K, h, w)."""


class Trace:
    """One batch's forward pass, cut at one or several explained layers.

    A method explains one layer: it reads ``activations``, ``head``, ``weights`` and ``gradients``, which a
    trace of several layers does not have. :attr:`layers` and :meth:`at` split such a trace.

    Attributes:
        maps: (N, K, h, w) output of each explained layer, in the order of running. The first is a leaf that
            requires a gradient, so a backward pass from the logits stops there; deeper maps depend on it.
        logits: (N, C) logits.
        inputs: (N, 3, S, S) inputs of the network.
        network: The network, for methods that run it again.
        asked: (N, T) classes that will be explained, where that is known; one pass may serve them all.
        kept: Results computed for all ``asked`` classes, see :mod:`stages.explain.all_targets`.

    Args:
        gradients: Gradients of the pass that this trace is a part of; its own where not given.
    """

    def __init__(
        self,
        maps: Sequence[Tensor],
        logits: Tensor,
        inputs: Tensor,
        network: Traced,
        asked: Tensor | None = None,
        gradients: _Gradients | None = None,
    ) -> None:
        self.maps, self.logits, self.inputs = tuple(maps), logits, inputs
        self.network, self.asked = network, asked
        self.kept: dict[Callable[..., Any], Any] = {}
        self._gradients = gradients or _Gradients(self.maps)

    @property
    def layers(self) -> list[Trace]:
        """One trace per explained layer, in the order of running; a backward pass of one serves all."""
        # Not cached for the trace itself: a reference cycle would keep the graph in memory until collected.
        return [self] if len(self.maps) == 1 else self._parts

    def at(self, names: Collection[str] | None) -> Trace:
        """The same pass, explained at some of the layers; None selects all of them."""
        if names is None or set(names) == set(self.network.names):
            return self
        chosen = [at for at, name in enumerate(self.network.names) if name in names]
        if len(chosen) == 1:
            return self.layers[chosen[0]]
        return self._part([self.maps[at] for at in chosen], self.network.at(names))

    def asking(self, targets: Tensor | None) -> Trace:
        """The same pass, with (N, T) classes that will be explained."""
        return Trace(self.maps, self.logits, self.inputs, self.network, targets)

    @property
    def activations(self) -> Tensor:
        """Output of the only explained layer, (N, K, h, w).

        Raises:
            ValueError: There are several layers.
        """
        if len(self.maps) > 1:
            raise ValueError(f"the trace is cut at {len(self.maps)} layers: take one by layers or at()")
        return self.maps[0]

    @property
    def head(self) -> Head | None:
        """The linear layer of a GAP + linear head on ``activations``; None for any other head, or several layers."""
        return self.network.head

    @property
    def probs(self) -> Tensor:
        """Probabilities of all classes, (N, C), without a graph."""
        return self.network.probabilities(self.logits.detach())

    @property
    def locations(self) -> int:
        """Number of cells of a map, h w."""
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
        """The gradient d y_c / d activations, (N, K, h, w), for the classes ``target`` (N,).

        With a GAP + linear head the gradient is w^c / (h w) everywhere, and no pass is needed. With any other
        head, the gradients of all ``asked`` classes are kept, because every method needs them again.
        """
        if self.head is not None:
            flat = self.weights(target) / self.locations
            return flat[:, :, None, None].expand_as(self.activations)
        room = 1 if self.asked is None else self.asked.shape[1]
        return self._gradients.of(self.activations, target, self.score(target), room)

    def gradients_of(self, score: Tensor) -> Tensor:
        """The gradient d score / d activations, (N, K, h, w), for one score per image (N,) computed from ``logits``.

        The scores are summed over the batch: in eval mode images do not interact, so one backward pass through
        the head gives every image its own gradient.
        """
        return torch.autograd.grad(score.sum(), self.activations, retain_graph=True)[0]

    def decide(self, image: int, activations: Tensor) -> Tensor:
        """Logits (M, C) of one image of the batch, with its activations replaced by (M, K, h, w)."""
        return self.network.decide(activations, self.inputs[image : image + 1])

    @cached_property
    def _parts(self) -> list[Trace]:
        names = self.network.names
        return [self._part([one], self.network.at([name])) for one, name in zip(self.maps, names, strict=True)]

    def _part(self, maps: Sequence[Tensor], network: Traced) -> Trace:
        return Trace(maps, self.logits, self.inputs, network, self.asked, self._gradients)

    def _checked(self, target: Tensor) -> Tensor:
        count = self.logits.shape[1]
        if target.is_cuda:  # A look at it would wait for all that the GPU has to do before.
            return target
        if ((target < 0) | (target >= count)).any():
            wrong = next(one for one in target.tolist() if not 0 <= one < count)
            raise ConfigurationError(f"class {wrong} cannot be explained: the network has classes 0 to {count - 1}")
        return target


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors that nobody changes have the same values; on a GPU, where a look waits, the same memory."""
    if one.is_cuda:
        return (one.data_ptr(), one.shape, one.stride()) == (other.data_ptr(), other.shape, other.stride())
    return torch.equal(one, other)


class _Gradients:
    """The gradients of the last targets at one or several layers, of all layers from one backward pass.

    Args:
        maps: Maps of each layer, parts of one graph.
    """

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self._maps = maps
        self._kept: list[tuple[Tensor, tuple[Tensor, ...]]] = []

    def of(self, activations: Tensor, target: Tensor, score: Tensor, room: int) -> Tensor:
        """The derivative d score / d activations for one of the layers.

        Args:
            activations: Activations of that layer.
            target: (N,) classes, the key under which gradients are kept.
            score: (N,) scores of those classes.
            room: Number of targets that are kept; the oldest is dropped.
        """
        found = next((gradients for kept, gradients in self._kept if same(kept, target)), None)
        if found is None:
            found = torch.autograd.grad(score.sum(), list(self._maps), retain_graph=True)
            self._kept = [*self._kept, (target, found)][-room:]
        return next(one for layer, one in zip(self._maps, found, strict=True) if layer is activations)
