"""What happened in a run, for machines: a file of JSON lines for each process of a call, in the run's ``logs/``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from pipeline.machine import process_name
from pipeline.rundir import RunDir
from pipeline.shards import Report
from stages.errors import ConfigurationError

_log = logging.getLogger("wsl_pipeline")


class Journal(logging.Handler):
    """Writes down commits, and what people are told beside the progress.

    Args:
        file: Where to; each line is written at once.
    """

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self.file = file

    def commit(self, report: Report) -> None:
        """A shard is committed."""
        counts = {"shard": report.shard, "images": report.images, "failed": report.failed}
        self._write("commit", counts | {"seconds": _rounded(report.seconds), "peak_memory_mib": report.memory})

    def processed(self, shard: int, seconds: dict[str, float]) -> None:
        """This process has taken a shard through its stages, in as many seconds each."""
        self._write("processed", {"shard": shard, "seconds": _rounded(seconds)})

    def emit(self, record: logging.LogRecord) -> None:
        """People are told something."""
        self._write(record.levelname.lower(), {"message": record.getMessage()})

    def _write(self, event: str, fields: dict) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "process": process_name(), "event": event} | fields
        self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.file.flush()


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(spent, 4) for stage, spent in seconds.items()}


@contextmanager
def journal(run: RunDir) -> Iterator[Journal | None]:
    """The journal of this process; None where the run lies in an object store, whose files cannot grow."""
    try:
        folder = run.path / "logs"
    except ConfigurationError:
        yield None
        return
    folder.mkdir(exist_ok=True)
    start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = process_name().replace(":", "-")
    with open(folder / f"{start}-{name}.jsonl", "w", encoding="utf-8") as file:
        handler = Journal(file)
        _log.addHandler(handler)
        try:
            yield handler
        finally:
            _log.removeHandler(handler)
