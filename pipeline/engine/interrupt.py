"""Handling of the signals that end a program: the first lets running work finish, the second ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_log = logging.getLogger("wsl_pipeline")

SIGNALS = {
    signal.SIGINT: "press Ctrl-C again",
    signal.SIGTERM: "send the signal again",
    signal.SIGHUP: "send SIGTERM",
}
"""Signals that ask a program to end, and how to ask a second time: Ctrl-C; SIGTERM of Kubernetes, Slurm, systemd and
``kill``; SIGHUP of a terminal that closes."""


class Interruption(BaseException):
    """A signal asks the program to end; not a KeyboardInterrupt, which libraries handle in their own ways.

    Attributes:
        exit_code: 128 plus the signal's number, as shells count: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__()
        self.exit_code = 128 + signum


def interrupt(signum: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Handler that ends the program at once."""
    raise Interruption(signum)


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals of :data:`SIGNALS` in a block; outside the main thread, where none arrives, do nothing.

    Within the block, and not before, because libraries such as Ray set handlers of their own. SIGHUP stays ignored
    where the program was started to ignore it (``nohup``).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # None: a handler that was not set by Python, which Python cannot set again.
    before = {one: signal.getsignal(one) or signal.SIG_DFL for one in SIGNALS}
    for one in SIGNALS:
        if one != signal.SIGHUP or before[one] != signal.SIG_IGN:
            signal.signal(one, handler)
    try:
        yield
    finally:
        for one, former in before.items():
            signal.signal(one, former)


@contextmanager
def draining() -> Iterator[Callable[[], bool]]:
    """Let the first signal only request a stop; yields a function that tells whether one was requested.

    Raises:
        Interruption: A stop was requested (raised at the end of the block), or requested twice (inside it).
    """
    asked: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:
        if asked and signum == signal.SIGHUP:  # A closing terminal sends it twice; systemd sends it behind SIGTERM.
            return
        if asked:
            raise Interruption(signum)
        asked.append(signum)
        again = SIGNALS[signal.Signals(signum)]
        _log.warning("stopping once the shards under way are committed; %s to stop now", again)

    with handling(ask):
        yield lambda: bool(asked)
    if asked:
        raise Interruption(asked[0])
