"""How this process gets its memory from the kernel."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX, _MMAP_THRESHOLD, _TOP_PAD, _TRIM_THRESHOLD = -8, -3, -2, -1
"""Options of glibc's ``mallopt``."""


def keep_memory() -> bool:
    """Keep the memory that a batch frees for the next one, instead of giving it back to the kernel.

    By default glibc maps every large tensor anew, and the kernel clears its pages at their first use, which takes as
    long as a small network's arithmetic. Peak memory stays the same; it is given back when the process ends.

    Returns:
        Whether that is so: on Linux with glibc, nowhere else.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none.
        return False
    options = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 128 << 20))
    return all(mallopt(option, value) for option, value in options)
