"""A network cut at its explained layers: the part before runs once, the part after can run again."""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError
from stages.trace.layout import from_maps, to_maps
from stages.trace.outputs import SOFTMAX, Head, probabilities
from stages.trace.probe import checked_logits, gap_linear_head, order_of_running
from stages.trace.trace import Trace


class CutNetwork:
    """A frozen network with one hook at each of its explained layers.

    With every parameter frozen, autograd records nothing until the hook of the first layer replaces its output
    by a detached leaf that requires a gradient. The part after it is the head, so a backward pass costs the
    head alone, and the trunk's activations are freed as it runs. Deeper layers are part of the graph that
    starts at the first.

    Threads may share the network, each with a batch of its own.

    Args:
        module: Network in eval mode, with frozen parameters.
        names: Dotted names of the layers whose outputs are explained, in any order.
        size: Side of the input in pixels.
        precision: Lower arithmetic for the network, such as ``torch.bfloat16``. Activations and logits are
            returned in the precision of the inputs.
        black: (1, 3, 1, 1), a normalised black pixel; 0, the mean colour under the usual normalisation, where
            the normalisation is unknown.
        outputs: What the logits stand for, see :func:`stages.trace.outputs.probabilities`.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> trace = CutNetwork(network.eval().requires_grad_(False), ["0"], size=8).trace(torch.zeros(2, 3, 8, 8))
        >>> trace.activations.shape, trace.gradients(torch.tensor([0, 4])).shape
        (torch.Size([2, 5, 6, 6]), torch.Size([2, 5, 6, 6]))
    """

    def __init__(
        self,
        module: nn.Module,
        names: Sequence[str],
        size: int,
        precision: torch.dtype | None = None,
        black: Tensor | None = None,
        outputs: str = SOFTMAX,
    ) -> None:
        self.module, self.outputs = module, outputs
        self.black = torch.zeros(1, 3, 1, 1) if black is None else black
        self._size, self._precision = size, precision
        ordered = order_of_running(module, names, size) if len(names) > 1 else names
        self._layers = [_Layer(module, name, size) for name in ordered]

    @property
    def names(self) -> list[str]:
        """Names of the layers, in the order of running."""
        return [layer.name for layer in self._layers]

    @property
    def head(self) -> Head | None:
        """The linear layer, if GAP + linear alone follows the only layer.

        None where there are several layers: at most one of them directly precedes it.
        """
        return self._layers[0].head if len(self._layers) == 1 else None

    def at(self, names: Collection[str]) -> CutNetwork:
        """The same network with the same hooks, explained at some of the layers."""
        found = copy.copy(self)
        found._layers = [layer for layer in self._layers if layer.name in names]
        return found

    def trace(self, inputs: Tensor, asked: Tensor | None = None) -> Trace:
        """Run (N, 3, S, S) inputs through the network once and keep what explainers need.

        Args:
            inputs: Normalised images.
            asked: (N, T) classes that will be explained, where that is known.

        Raises:
            ConfigurationError: A layer gives no map, or more than one.
        """
        alone = len(self._layers) == 1
        with ExitStack() as caught:
            for layer in self._layers:
                caught.enter_context(layer.catching(inputs.dtype, alone))
            logits = self.logits(inputs)
            return Trace([layer.caught() for layer in self._layers], logits, inputs, self, asked)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (M, C) of (M, 3, S, S) inputs; without a graph, unless the inputs require a gradient."""
        with torch.autocast(inputs.device.type, self._precision, enabled=self._precision is not None):
            logits = checked_logits(self.module(inputs))
        return logits.to(inputs.dtype)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (..., C) of the network's logits (..., C)."""
        return probabilities(logits, self.outputs)

    def decide(self, activations: Tensor, image: Tensor | None = None) -> Tensor:
        """Logits (M, C) of (M, K, h, w) activations through the head alone; for a network cut at one layer.

        Args:
            activations: Maps that replace the layer's output.
            image: (1, 3, S, S) input of the trunk, which matters where anything bypasses the map: a shortcut, a
                class token. A black image where not given.
        """
        (layer,) = self._layers
        with layer.replaced(activations):
            return self.logits(activations.new_zeros(1, 3, self._size, self._size) if image is None else image)


class _Layer:
    """One explained layer and its hook, whose mode is set per thread.

    Attributes:
        name: Dotted name of the layer.
        head: The linear layer, if GAP + linear alone follows this layer.
    """

    def __init__(self, module: nn.Module, name: str, size: int) -> None:
        layer = module.get_submodule(name)
        self.name = name
        self.head = gap_linear_head(module, layer, size)
        self._thread = threading.local()
        layer.register_forward_hook(self._hook)

    @contextmanager
    def catching(self, dtype: torch.dtype, alone: bool) -> Iterator[None]:
        """Catch the layer's maps in a forward pass.

        Args:
            dtype: Type of the caught maps.
            alone: Start the graph here; otherwise only if no other layer has started it.
        """
        self._thread.dtype = dtype
        with self._mode("begin" if alone else "join"):
            yield

    def caught(self) -> Tensor:
        """The maps of the pass that is being caught.

        Raises:
            ConfigurationError: The layer did not run.
        """
        maps: Tensor | None = self._thread.activations
        if maps is None:
            raise ConfigurationError(f"the network never runs {self.name!r}; name another layer", about="layer")
        return maps

    def replaced(self, activations: Tensor) -> AbstractContextManager[None]:
        """Replace the layer's output by (M, K, h, w) activations."""
        return self._mode("replace", activations)

    @contextmanager
    def _mode(self, mode: str, activations: Tensor | None = None) -> Iterator[None]:
        self._thread.mode, self._thread.activations = mode, activations
        try:
            yield
        finally:
            del self._thread.mode, self._thread.activations

    def _hook(self, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        mode = getattr(self._thread, "mode", None)
        if mode is None:
            return output
        if mode == "replace":
            return from_maps(self._thread.activations.clone().to(output.dtype), output)
        maps = to_maps(output)
        if maps is None:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ConfigurationError(
                f"the output of {self.name!r} has shape {shape}, not (N, K, h, w); name a convolutional layer",
                about="layer",
            )
        if self._thread.activations is not None:
            raise ConfigurationError(
                f"{self.name!r} runs more than once in a pass; name a layer that runs once, such as the block "
                "around it",
                about="layer",
            )
        # With several layers, the deeper ones are part of the graph that the first of them started.
        if not (mode == "join" and maps.requires_grad):
            maps = maps.detach()
        maps = maps.to(self._thread.dtype)
        self._thread.activations = maps if maps.requires_grad else maps.requires_grad_()
        # A copy, because an in-place ReLU may follow, and autograd's leaf must not change.
        return from_maps(self._thread.activations.clone().to(output.dtype), output)
