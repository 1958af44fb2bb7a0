"""An end for processes that hang."""

from __future__ import annotations

import faulthandler
import math
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End this process, after its tracebacks on stderr, where the block is not left in time.

    The watch is a thread of C: it does not need Python's lock, which the hanging call may hold. One block
    at a time in a process.
    """
    if math.isinf(seconds):
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
