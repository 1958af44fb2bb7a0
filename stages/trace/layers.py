"""Several layers of one network, explained in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from stages.classify.parts import Parts
from stages.trace.cut import CutNetwork
from stages.trace.probe import order_of_running
from stages.trace.trace import Gradients, LayeredTrace, Trace


class LayeredNetwork:
    """A frozen network with a hook at each of several layers. The first that runs begins the graph.

    Args:
        module: In eval mode, its parameters frozen.
        names: Dotted names of the layers, in any order.
        size: Side of the input in pixels.
        precision: As for :class:`CutNetwork`.
    """

    head = None
    """What needs the linear head's weights makes no sense of several layers: at most one lies before it."""

    def __init__(
        self, module: nn.Module, names: Sequence[str], size: int, precision: torch.dtype | None = None
    ) -> None:
        self.module = module
        ordered = order_of_running(module, names, size)
        self._cuts = [CutNetwork(module, module.get_submodule(name), name, size, precision) for name in ordered]

    @property
    def black(self) -> Tensor:
        """As of :class:`CutNetwork`."""
        return self._cuts[0].black

    @black.setter
    def black(self, pixel: Tensor) -> None:
        for cut in self._cuts:
            cut.black = pixel

    @property
    def parts(self) -> Parts | None:
        """As of :class:`CutNetwork`."""
        return self._cuts[0].parts

    @parts.setter
    def parts(self, parts: Parts | None) -> None:
        for cut in self._cuts:
            cut.parts = parts

    def trace(self, inputs: Tensor) -> LayeredTrace:
        """Run (N, 3, S, S) inputs through the network once; one trace a layer, in the order of running.

        Raises:
            ConfigurationError: A layer gives no map, or more than one.
        """
        with ExitStack() as watch:
            for cut in self._cuts:
                watch.enter_context(cut.watching(inputs.dtype, "join"))
            logits = self._cuts[0].logits(inputs)
            maps = [cut.seen() for cut in self._cuts]
        shared = Gradients(maps)
        traces = [Trace(one, logits, inputs, cut, shared) for one, cut in zip(maps, self._cuts, strict=True)]
        return LayeredTrace(traces, self)

    def logits(self, inputs: Tensor) -> Tensor:
        """(M, C) of (M, 3, S, S) inputs; without a graph, unless the inputs require a gradient."""
        return self._cuts[0].logits(inputs)


def cut_at(
    module: nn.Module, names: Sequence[str], size: int, precision: torch.dtype | None = None
) -> CutNetwork | LayeredNetwork:
    """The network, ready to be explained at one layer or at several."""
    if len(names) > 1:
        return LayeredNetwork(module, names, size, precision)
    return CutNetwork(module, module.get_submodule(names[0]), names[0], size, precision)
