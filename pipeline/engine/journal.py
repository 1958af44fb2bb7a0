"""Machine-readable log of a run: JSON lines in the run's ``logs/``, in a file for each process of a call."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from pipeline.engine.job import Committed
from pipeline.engine.machine import process_name
from pipeline.store.directory import Directory
from stages.errors import OutputError
from stages.ingest.paths import local_path

_log = logging.getLogger("wsl_pipeline")

LINES = 256
"""Number of lines in one object of a journal in an object store."""


class _Lines(Protocol):
    def write(self, line: str, /) -> object:
        """Write a line, including its newline."""

    def flush(self) -> None:
        """Make the lines readable for others."""


class Journal(logging.Handler):
    """Log of commits and of messages to the user, without the progress.

    Args:
        lines: Destination; each line is written at once.
    """

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines
        self._waiting: list[str] = []
        self._writing = False

    def commit(self, report: Committed) -> None:
        """Log that a shard is committed."""
        counts = {"shard": report.shard, "images": report.images, "failed": report.failed}
        self._write("commit", counts | {"seconds": _rounded(report.seconds), "peak_memory_mib": report.memory})

    def processed(self, shard: int, seconds: dict[str, float]) -> None:
        """Log that this process has taken a shard through its stages, with the seconds of each stage."""
        self._write("processed", {"shard": shard, "seconds": _rounded(seconds)})

    def emit(self, record: logging.LogRecord) -> None:
        """Log a message to the user."""
        self._write(record.levelname.lower(), {"message": record.getMessage()})

    def _write(self, event: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "process": process_name(), "event": event} | fields
        with self.lock or nullcontext():  # Several threads may commit.
            self._waiting.append(json.dumps(line) + "\n")
            if self._writing:  # A signal's message, in the middle of another line of this thread.
                return
            self._writing = True
            try:
                while self._waiting:
                    self._lines.write(self._waiting.pop(0))
                    self._lines.flush()
            finally:
                self._writing = False


class _Objects:
    """Lines in an object store, whose objects cannot grow: the last one is rewritten with every line.

    Args:
        run: The run that they belong to.
        name: Name of the objects, to which a number is appended.
    """

    def __init__(self, run: Directory[Any], name: str) -> None:
        self._run, self._name = run, name
        self._number, self._stored = 0, True
        self._last: list[str] = []

    def write(self, line: str, /) -> None:
        if len(self._last) >= LINES and self._stored:
            self._number, self._last = self._number + 1, []
        self._last.append(line)
        self._stored = False

    def flush(self) -> None:
        """Store the last object; a failure fails no shard, and the next line includes these again."""
        if not self._stored:
            with suppress(OutputError):
                self._run.write(f"{self._name}-{self._number:04}.jsonl", "".join(self._last).encode())
                self._stored = True


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(spent, 4) for stage, spent in seconds.items()}


@contextmanager
def journal(run: Directory[Any]) -> Iterator[Journal]:
    """The journal of this process."""
    start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"logs/{start}-{process_name().replace(':', '-')}"
    with ExitStack() as stack:
        if local_path(run.uri) is None:
            objects = _Objects(run, name)
            stack.callback(objects.flush)
            handler = Journal(objects)
        else:
            (run.path / "logs").mkdir(exist_ok=True)
            handler = Journal(stack.enter_context(open(run.where(f"{name}.jsonl"), "w", encoding="utf-8")))
        _log.addHandler(handler)
        stack.callback(_log.removeHandler, handler)
        yield handler
