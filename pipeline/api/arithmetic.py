"""A run sets torch up for its process alone; a caller who goes on gets back what was set before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_arithmetic() -> Iterator[None]:
    """Give torch back its number of threads and TF32 at the end."""
    import torch

    threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = tf32


@contextmanager
def arithmetic_of_a_run() -> Iterator[None]:
    """One thread and no TF32, so that the bits are those of a run; gradients, whatever the caller has turned off.

    It is a decorator, too.
    """
    import torch

    with kept_arithmetic(), torch.inference_mode(False), torch.enable_grad():
        torch.set_num_threads(1)
        torch.backends.cudnn.allow_tf32 = False
        yield
