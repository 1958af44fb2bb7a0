"""Torch's settings for a run, and their restoration for a caller whose process goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_arithmetic() -> Iterator[None]:
    """Restore torch's number of threads and TF32 settings on exit."""
    import torch

    threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = tf32


@contextmanager
def arithmetic_of_a_run() -> Iterator[None]:
    """Use one thread and no TF32, so that the bits are those of a run, and enable gradients.

    Also usable as a decorator.
    """
    import torch

    with kept_arithmetic(), torch.inference_mode(False), torch.enable_grad():
        torch.set_num_threads(1)
        torch.backends.cudnn.allow_tf32 = False
        yield
