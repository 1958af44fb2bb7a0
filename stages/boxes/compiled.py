"""Compilation of loops over pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as machine code that other threads run beside, kept for later processes where a folder can hold it.

    That is ``NUMBA_CACHE_DIR``, the folder of the function's module or the user's own. Where none of them can be
    written, as in a container without a home, every process compiles for itself, which takes some seconds.
    """
    try:
        found: Callable[..., Any] = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        found = njit(nogil=True)(function)
    return found
