"""Ctrl-C: the first lets what is under way finish, the second ends the program at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("wsl_pipeline")


class Interruption(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, with which libraries have ways of their own."""


def interrupt(signum: int = signal.SIGINT, frame: object = None) -> None:
    """What Ctrl-C does where nothing else is said."""
    raise Interruption


@contextmanager
def draining() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only ask to stop; gives a function that tells whether it did.

    Signals arrive in the main thread; in any other nothing is asked.

    Raises:
        Interruption: At the end of the block where it was asked, inside of it on the second Ctrl-C.
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
