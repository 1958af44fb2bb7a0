"""A time limit that ends a hanging process."""

from __future__ import annotations

import faulthandler
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 15.0
"""Seconds that a process may stay silent after the time limit at which it should have ended itself."""
START = 120.0
"""Seconds that a process may take to start, before any limit."""

_begun: list[float] = []


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End this process, after printing its tracebacks to stderr, if the block does not finish in time.

    The watchdog is a C thread, which does not need the GIL that the hanging call may hold. It ends no process that
    is stopped, or whose call waits in the kernel for a disk that does not answer: others must notice those. Only one
    block per process can be active at a time.
    """
    if math.isinf(seconds):
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    _begun.append(time.monotonic())
    try:
        yield
    finally:
        _begun.clear()
        faulthandler.cancel_dump_traceback_later()


def under_way() -> float:
    """Seconds that the active block has taken so far; 0 without one."""
    return time.monotonic() - begun[0] if (begun := _begun[:]) else 0.0
