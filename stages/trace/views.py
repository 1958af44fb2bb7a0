"""The same image seen mirrored and at other sizes, explained as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from torch import Tensor
from torch.nn import functional as F

from stages.errors import ConfigurationError, is_out_of_memory
from stages.trace.fuse import mean_of_maxima
from stages.trace.trace import Trace

Method = Callable[[Trace, Tensor], Tensor]
"""Function from (trace of one layer, target (N,)) to raw maps (N, h, w): before ReLU, normalisation and resizing."""
Fusion = Callable[[Sequence[Tensor]], Tensor]
"""Function from maps (N, h_l, w_l) of several layers to one map (N, h, w)."""


class Views:
    """Forward passes of a batch and of its other views, shared by all methods and targets.

    Args:
        trace: Trace of the unchanged batch.
        flip: Whether to add the mirrored batch.
        scales: Shares of the batch's size at which it is viewed; 1 is the trace itself.
        asked: (N, T) classes that will be explained, where they are known.
    """

    def __init__(self, trace: Trace, flip: bool, scales: Sequence[float], asked: Tensor | None = None) -> None:
        self._names = list(trace.network.names)
        self._shapes = [maps.shape[2:] for maps in trace.maps]
        self._views: list[tuple[list[Trace], bool]] = []
        for scale in scales:
            sized = trace.asking(asked) if scale == 1 else _at_scale(trace, scale, asked)
            self._views.append((sized.layers, False))
            if flip:
                self._views.append((trace.network.trace(sized.inputs.flip(3), asked).layers, True))

    def explain(
        self,
        method: Method,
        target: Tensor,
        fuse: Fusion = mean_of_maxima,
        names: Collection[str] | None = None,
    ) -> Tensor:
        """The mean of the raw maps of all views, mirrored back and on the batch's own grid, (N, h, w).

        Args:
            method: Function from (trace, target) to raw maps.
            target: (N,) classes.
            fuse: Function that fuses the maps of several layers.
            names: Names of the layers that are explained; None selects all of them.
        """
        chosen = [at for at, name in enumerate(self._names) if names is None or name in names]
        maps = [self._at(layer, method, target) for layer in chosen]
        return maps[0] if len(maps) == 1 else fuse(maps)

    def _at(self, layer: int, method: Method, target: Tensor) -> Tensor:
        """The mean map of one layer, otherwise as :meth:`explain`."""
        if len(self._views) == 1:
            return method(self._views[0][0][layer], target).detach()
        total: Tensor | None = None
        grid: Sequence[int] = self._shapes[layer]
        for traces, mirrored in self._views:
            found = method(traces[layer], target).detach()
            found = found.flip(2) if mirrored else found
            if total is None and found.shape[1:] != traces[layer].activations.shape[2:]:
                grid = found.shape[1:]  # The method's grid may depend on the view's size; the first view's is used.
            if found.shape[1:] != grid:
                found = F.interpolate(found[:, None], grid, mode="bilinear", antialias=True)[:, 0]
            total = found if total is None else total + found
        assert total is not None
        return total / len(self._views)


def _at_scale(trace: Trace, scale: float, asked: Tensor | None) -> Trace:
    side = round(trace.inputs.shape[3] * scale)
    inputs = F.interpolate(trace.inputs, (side, side), mode="bilinear", antialias=True)
    try:
        return trace.network.trace(inputs, asked)
    except (RuntimeError, AssertionError, ValueError) as error:  # Raised by networks with a fixed input size.
        if is_out_of_memory(error):
            raise
        raise ConfigurationError(
            f"the network does not run at {side} pixels; leave the only scale at 1", about="scales"
        ) from error
