"""Handling of Ctrl-C: the first lets running work finish, the second ends the program at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("wsl_pipeline")


class Interruption(BaseException):
    """Ctrl-C was pressed; not a KeyboardInterrupt, which libraries handle in their own ways."""


def interrupt(signum: int = signal.SIGINT, frame: object = None) -> None:
    """Default handler of Ctrl-C."""
    raise Interruption


@contextmanager
def draining() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only request a stop; yields a function that tells whether one was requested.

    Signals arrive in the main thread only; in other threads no stop is ever requested.

    Raises:
        Interruption: A stop was requested (raised at the end of the block), or Ctrl-C was pressed twice (inside it).
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(signum: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, interrupt)
        _log.warning("stopping once the shards under way are committed; press Ctrl-C again to stop now")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_set():
        raise Interruption
