"""The same image seen mirrored and at other sizes, explained as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import ConfigurationError
from stages.explain.trace import Trace


class Views:
    """A batch's forward pass, and those of its other views; all methods and targets share them.

    Args:
        trace: Of the batch as it is.
        flip: Also mirrored.
        scales: At these shares of its size; 1 is the trace itself.
    """

    def __init__(self, trace: Trace, flip: bool, scales: Sequence[float]) -> None:
        self.grid = trace.activations.shape[2:]
        self.head: nn.Linear | None = trace.head
        self._traces: list[tuple[Trace, bool]] = []
        for scale in scales:
            sized = trace if scale == 1 else _retrace(trace, _resized(trace.inputs, scale))
            self._traces.append((sized, False))
            if flip:
                self._traces.append((_retrace(sized, sized.inputs.flip(3)), True))

    def explain(self, method: Callable[[Trace, Tensor], Tensor], target: Tensor) -> Tensor:
        """The mean of the raw maps of all views, turned back and on the batch's own grid, (N, h, w)."""
        if len(self._traces) == 1:
            return method(self._traces[0][0], target).detach()
        total: Tensor | None = None
        for trace, mirrored in self._traces:
            found = method(trace, target).detach()
            found = found.flip(2) if mirrored else found
            grid = found.shape[1:] if found.shape[1:] != trace.activations.shape[2:] else self.grid
            if found.shape[1:] != grid:
                found = F.interpolate(found[:, None], grid, mode="bilinear", antialias=True)[:, 0]
            total = found if total is None else total + found
        assert total is not None
        return total / len(self._traces)


def _resized(inputs: Tensor, scale: float) -> Tensor:
    side = round(inputs.shape[3] * scale)
    return F.interpolate(inputs, (side, side), mode="bilinear", antialias=True)


def _retrace(trace: Trace, inputs: Tensor) -> Trace:
    try:
        return trace.network.trace(inputs)
    except RuntimeError as error:
        raise ConfigurationError(
            f"explain.scales: the network does not run at {inputs.shape[3]} pixels; leave explain.scales at [1]"
        ) from error
