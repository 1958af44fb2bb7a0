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
        self._each = 1 + flip
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
        return self.explain_apart(method, target, fuse, names)[0]

    def explain_apart(
        self,
        method: Method,
        target: Tensor,
        fuse: Fusion = mean_of_maxima,
        names: Collection[str] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The map of :meth:`explain`, and that of each scale on its own grid, (N, h_s, w_s)."""
        chosen = [at for at, name in enumerate(self._names) if names is None or name in names]
        found = [self._at(layer, method, target) for layer in chosen]
        means, apart = [mean for mean, _ in found], zip(*(scales for _, scales in found), strict=True)
        if len(found) == 1:
            return means[0], [maps[0] for maps in apart]
        return fuse(means), [fuse(maps) for maps in apart]

    def largest(self, names: Collection[str] | None = None) -> Tensor:
        """Outputs of the explained layer in the largest view, (N, K, h, w); the mean of it and the mirrored one.

        Args:
            names: Name of the layer; None where the trace has only one.

        Raises:
            ValueError: There are several layers.
        """
        (layer,) = (at for at, name in enumerate(self._names) if names is None or name in names)
        sizes = [traces[layer].inputs.shape[3] for traces, _ in self._views]
        first = sizes.index(max(sizes))
        views = self._views[first : first + self._each]
        found = [traces[layer].activations.detach() for traces, _ in views]
        found = [one.flip(3) if mirrored else one for one, (_, mirrored) in zip(found, views, strict=True)]
        return sum(found[1:], found[0]) / len(found)

    def _at(self, layer: int, method: Method, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The mean map of one layer and that of each scale, otherwise as :meth:`explain_apart`."""
        maps = [method(traces[layer], target).detach() for traces, _ in self._views]
        maps = [one.flip(2) if mirrored else one for one, (_, mirrored) in zip(maps, self._views, strict=True)]
        if len(maps) == 1:
            return maps[0], maps
        # The method's grid may depend on the view's size; the first view's is used.
        own = maps[0].shape[1:]
        grid = self._shapes[layer] if own == self._views[0][0][layer].activations.shape[2:] else own
        scales = [maps[at : at + self._each] for at in range(0, len(maps), self._each)]
        return _mean(maps, grid), [_mean(one, one[0].shape[1:]) for one in scales]


def _mean(maps: Sequence[Tensor], grid: Sequence[int]) -> Tensor:
    """The mean of maps (N, h_i, w_i) on a grid, (N, h, w)."""
    sized = [
        one if one.shape[1:] == grid else F.interpolate(one[:, None], grid, mode="bilinear", antialias=True)[:, 0]
        for one in maps
    ]
    return sum(sized[1:], sized[0]) / len(sized)


def _at_scale(trace: Trace, scale: float, asked: Tensor | None) -> Trace:
    whole = trace.inputs.shape[3]
    side = round(whole * scale)
    if side < 1:
        raise ConfigurationError(f"{scale:g} of {whole} pixels is no pixel; take larger ones", about="scales")
    inputs = F.interpolate(trace.inputs, (side, side), mode="bilinear", antialias=True)
    try:
        return trace.network.trace(inputs, asked)
    except (RuntimeError, AssertionError, ValueError) as error:  # Raised by networks with a fixed input size.
        if is_out_of_memory(error):
            raise
        raise ConfigurationError(
            f"the network does not run at {side} pixels; leave the only scale at 1", about="scales"
        ) from error
