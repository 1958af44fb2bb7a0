"""A time limit that ends a hanging process."""

from __future__ import annotations

import faulthandler
import math
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End this process, after printing its tracebacks to stderr, if the block does not finish in time.

    The watchdog is a C thread, which does not need the GIL that the hanging call may hold. Only one block per
    process can be active at a time.
    """
    if math.isinf(seconds):
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
