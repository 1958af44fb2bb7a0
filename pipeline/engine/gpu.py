"""Failures of a GPU that no batch is to blame for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stages.errors import UserError, first_line, is_out_of_memory

AT_ONCE = 2
"""Batches that a process has on a GPU at once: one is copied there or back while another is computed.

Each is in a thread that lives as long as the process: what cuDNN plans for a shape, it plans anew in every thread.
"""


class DeviceLostError(UserError):
    """The GPU does nothing more for this process: an illegal access, a failed launch, broken memory."""


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Tell a GPU that this process has lost from other errors.

    After such a failure every call for the GPU fails in this process, whatever the batch, until the process ends.

    Raises:
        DeviceLostError: In place of the error of the call that noticed it first.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or not _is_lost():
            raise
        raise DeviceLostError(
            f"the GPU fails at every call of this process since: {first_line(error)}; committed shards are safe: run "
            "the same command again; the ray executor goes on in another process by itself"
        ) from error


def _is_lost() -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
