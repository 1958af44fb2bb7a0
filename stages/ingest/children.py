"""Calls about strangers' files in child processes, where a crash or a hang costs the file and not this process.

Libraries that parse images run native code, whose faults cannot be caught where they happen.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any

from stages import errors
from stages.errors import StorageError, UserError
from stages.ingest.child import READY, SECONDS
from stages.ingest.paths import archive_of, local_path

TRIES = 2
"""Number of times that a call must end its process before it is given up: another may have ended it."""
_BATCH = 32
# Processes at a time: for files of this machine as many as there are cores, and few, because each may hold an image.
_MOST_LOCAL, _MOST_REMOTE = 4, 8
# Calls for each of which another process is worth its start.
_WORTH = 256
# Beyond the time after which a child ends itself, unless it is stopped.
_GRACE = 15
# Calls that end by time, one after the other, of which the files are not the cause.
_HUNG = 8

_ROOT = str(Path(__file__).parents[2])
_idle: list[_Child] = []


class Lost:
    """The result of a call that ended its process, by a crash or because it took too long."""


def each(function: str, uris: Sequence[str], *common: Any) -> Iterator[Any]:
    """The results of a function for each of several files, in their order.

    Args:
        function: ``module:name`` of a function from a uri to what JSON can hold.
        uris: Arguments of the calls; local paths are absolute, because a process may have begun in another folder.
        common: Further arguments of all calls, which JSON can hold.

    Yields:
        The value of each call, or an instance of :class:`Lost`.

    Raises:
        UserError: The function raised it, or no process can be started.
        StorageError: Call after call takes too long.
    """
    most = _MOST_REMOTE if any(map(_is_remote, uris)) else min(_MOST_LOCAL, len(os.sched_getaffinity(0)))
    batches = list(_batches(uris))
    hung, stop = 0, Event()
    with ThreadPoolExecutor(min(most, 1 + len(uris) // _WORTH)) as pool:
        try:
            for batch, answers in zip(batches, pool.map(partial(_batch, function, common, stop), batches), strict=True):
                for uri, answer in zip(batch, answers, strict=True):
                    hung = hung + 1 if isinstance(answer, _Hung) else 0
                    if hung == _HUNG:
                        raise StorageError(f"{uri} and those before it cannot be read in {SECONDS} s each")
                    yield answer
        finally:  # Of an interrupted run, no batch is finished first.
            stop.set()


def _batches(uris: Sequence[str]) -> Iterator[Sequence[str]]:
    """The calls of one process at a time: a few, or those about one group of a table, which is decoded as a whole."""
    for group, together in groupby(uris, lambda uri: uri.partition("&row=")[0] if uri.startswith("parquet:") else ""):
        calls = list(together)
        size = len(calls) if group else _BATCH
        yield from (calls[at : at + size] for at in range(0, len(calls), size))


def _is_remote(uri: str) -> bool:
    return local_path(archive_of(uri)) is None


def _batch(function: str, common: tuple[Any, ...], stop: Event, uris: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    tries = 0
    while len(found) < len(uris) and not stop.is_set():
        child = _take()
        try:
            for answer in child.calls(function, uris[len(found) :], common):
                found.append(answer)
                tries = 0
                if stop.is_set():
                    child.end()
                    return found
            _idle.append(child)
        except _EndedError:
            code = child.end()
            tries += 1
            if code == -signal.SIGALRM or tries == TRIES:
                found.append(_Hung() if code == -signal.SIGALRM else Lost())
                tries = 0
        except BaseException:
            child.end()
            raise
    return found


class _Hung(Lost):
    """The result of a call that took too long."""


class _EndedError(Exception):
    """The child has ended."""


class _Child:
    """One process of :mod:`stages.ingest.child`."""

    def __init__(self) -> None:
        path = [*filter(None, sys.path), _ROOT]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stages.ingest.child"],  # -P: not from the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self.process.stdin and self.process.stdout
        self.calls_to, self.answers, self.unread = self.process.stdin, self.process.stdout.fileno(), b""
        self.poll = select.poll()
        self.poll.register(self.answers, select.POLLIN)
        try:
            ready = self._line() == READY
        except _EndedError:
            ready = False
        if not ready:
            raise UserError(f"a process that reads images cannot be started (exit code {self.end()})")

    def calls(self, function: str, uris: Sequence[str], common: Sequence[Any] = ()) -> Iterator[Any]:
        """The values of the calls.

        Raises:
            UserError: A call raised it; the child is of no use any more.
            _EndedError: The child has ended in a call.
        """
        try:
            self.calls_to.write(json.dumps([function, list(uris), common]).encode() + b"\n")
            self.calls_to.flush()
        except BrokenPipeError:
            raise _EndedError from None
        for _ in uris:
            kind, value = json.loads(self._line())
            if kind:
                raise getattr(errors, kind)(value)
            yield value

    def _line(self) -> str:
        """The next line that the child writes; one that is stopped is killed."""
        while b"\n" not in self.unread:
            if not self.poll.poll(1000 * (SECONDS + _GRACE)):
                self.process.kill()
            data = os.read(self.answers, 1 << 16)
            if not data:
                raise _EndedError
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        return line.decode("ascii")

    def end(self) -> int:
        """End the process, if it has not ended; returns how it did, as :attr:`subprocess.Popen.returncode`."""
        self.process.kill()
        with suppress(BrokenPipeError), self.process:
            self.process.wait()
        return self.process.wait()


def _take() -> _Child:
    """A child that waits, or a new one."""
    while _idle:
        child = _idle.pop()
        if child.process.poll() is None:
            return child
        child.end()
    return _Child()


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()
