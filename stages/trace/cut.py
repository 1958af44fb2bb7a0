"""A network that is cut at one layer: everything before it runs once, everything after it can be asked again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stages.classify.parts import Parts
from stages.errors import ConfigurationError
from stages.trace.layout import from_maps, to_maps
from stages.trace.probe import checked_logits, gap_linear_head
from stages.trace.trace import Trace


class CutNetwork:
    """A frozen network with one hook.

    With every parameter frozen autograd records nothing until the hook replaces the layer's output by a
    detached leaf that requires a gradient. What follows is the head, so a backward pass costs the head
    alone, and the trunk's activations are freed as it runs.

    Threads may share it, each with a batch of its own.

    Args:
        module: In eval mode, its parameters frozen.
        layer: The module whose output is explained.
        name: The layer's dotted name.
        size: Side of the input in pixels.
        precision: Lower arithmetic for the network, such as ``torch.bfloat16``. Activations and logits
            leave it in the precision of the inputs.
    """

    def __init__(
        self, module: nn.Module, layer: nn.Module, name: str, size: int, precision: torch.dtype | None = None
    ) -> None:
        self.module = module
        self._precision = precision
        self.head = gap_linear_head(module, layer, size)
        self.black = torch.zeros(1, 3, 1, 1)
        """A black pixel as the network is given it; mid-grey where nobody said how pixels are normalised."""
        self.parts: Parts | None = None
        """The same network in parts, for many passes at once, if somebody made them."""
        self.name = name
        self._size = size
        self._thread = threading.local()
        layer.register_forward_hook(self._hook)

    def trace(self, inputs: Tensor) -> Trace:
        """Run (N, 3, S, S) inputs through the network and keep what explainers need.

        Raises:
            ConfigurationError: The layer gives no map, or more than one.
        """
        with self.watching(inputs.dtype, "cut"):
            logits = self._run(inputs)
            return Trace(self.seen(), logits, inputs, self)

    @contextmanager
    def watching(self, dtype: torch.dtype, mode: str) -> Iterator[None]:
        """Catch the layer's maps in forward passes of this thread.

        Args:
            dtype: Of the maps.
            mode: ``cut`` begins the graph at this layer, ``join`` only if no other layer has begun it.
        """
        self._thread.dtype = dtype
        with self._mode(mode):
            yield

    def seen(self) -> Tensor:
        """The maps of the pass that was watched.

        Raises:
            ConfigurationError: The layer did not run.
        """
        if self._thread.activations is None:
            raise ConfigurationError(f"explain.layer: the network never runs {self.name!r}; name another layer")
        return self._thread.activations

    def logits(self, inputs: Tensor) -> Tensor:
        """(M, C) of (M, 3, S, S) inputs; without a graph, unless the inputs require a gradient."""
        return self._run(inputs)

    def decide(self, activations: Tensor, image: Tensor | None = None) -> Tensor:
        """(M, C) logits of (M, K, h, w) activations through the head alone.

        Args:
            activations: Replace the layer's output.
            image: (1, 3, S, S) input of the trunk, which matters where anything passes beside the map:
                a shortcut, a class token. A black one where nothing does.
        """
        with self._mode("replace", activations):
            return self._run(activations.new_zeros(1, 3, self._size, self._size) if image is None else image)

    def _run(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, self._precision, enabled=self._precision is not None):
            logits = checked_logits(self.module(inputs))
        return logits.to(inputs.dtype)

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
                f"explain.layer: the output of {self.name!r} has shape {shape}, not (N, K, h, w); "
                "name a convolutional layer"
            )
        if self._thread.activations is not None:
            raise ConfigurationError(
                f"explain.layer: {self.name!r} runs more than once in a pass; name a layer that runs once, "
                "such as the block around it"
            )
        # With several layers the deeper ones hang on the graph that the first of them began.
        if not (mode == "join" and maps.requires_grad):
            maps = maps.detach()
        maps = maps.to(self._thread.dtype)
        self._thread.activations = maps if maps.requires_grad else maps.requires_grad_()
        # A copy, because what follows may be an in-place ReLU, and autograd's leaf must stay as it is.
        return from_maps(self._thread.activations.clone().to(output.dtype), output)
