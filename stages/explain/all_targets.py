"""Passes that are the same whichever class is explained, made once for all classes that a batch is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch
from torch import Tensor

from stages.trace.trace import Trace

Computed = TypeVar("Computed", Tensor, tuple[Tensor, Tensor])


def for_all_targets(function: Callable[[Trace, Tensor], Computed]) -> Callable[[Trace, Tensor], Computed]:
    """Ask for one class per image, (trace, target (N,)) to (N, ...), what a function knows of several.

    Args:
        function: (trace, targets (N, T)) to one or several (N, T, ...). Called once for a trace's ``asked``
            classes, and what comes of it is kept with the trace; for any other class it is called anew.
    """

    @wraps(function)
    def of_one(trace: Trace, target: Tensor) -> Computed:
        asked = trace.asked
        columns = [] if asked is None else [at for at, one in enumerate(asked.unbind(1)) if torch.equal(one, target)]
        if asked is None or not columns:
            return _column(function(trace, target[:, None]), 0)
        if function not in trace.kept:
            trace.kept[function] = function(trace, asked)
        found: Computed = trace.kept[function]
        return _column(found, columns[0])

    return of_one


def _column(found: Computed, at: int) -> Computed:
    return found[:, at] if isinstance(found, Tensor) else (found[0][:, at], found[1][:, at])
