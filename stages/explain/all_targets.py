"""Passes that do not depend on the explained class, made once for all classes asked of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from torch import Tensor

from stages.trace.trace import Trace, same

Computed = TypeVar("Computed", Tensor, tuple[Tensor, Tensor])


def for_all_targets(function: Callable[[Trace, Tensor], Computed]) -> Callable[[Trace, Tensor], Computed]:
    """Make a function of several classes per image one of a single class: (trace, target (N,)) to (N, ...).

    Args:
        function: Maps (trace, targets (N, T)) to one or several (N, T, ...). Called once for a trace's
            ``asked`` classes, and the result is kept with the trace; for any other class it is called again.
    """

    @wraps(function)
    def of_one(trace: Trace, target: Tensor) -> Computed:
        asked = trace.asked
        columns = [] if asked is None else [at for at, one in enumerate(asked.unbind(1)) if same(one, target)]
        if asked is None or not columns:
            return _column(function(trace, target[:, None]), 0)
        if function not in trace.kept:
            trace.kept[function] = function(trace, asked)
        found: Computed = trace.kept[function]
        return _column(found, columns[0])

    return of_one


def _column(found: Computed, at: int) -> Computed:
    return found[:, at] if isinstance(found, Tensor) else (found[0][:, at], found[1][:, at])
