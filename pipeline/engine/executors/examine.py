"""Search for the images that kill or hang a process, from outside that process.

A child process takes the shard through all stages, first batch by batch, then image by image where a batch killed
it, and reports each step in advance through a pipe, which outlives it. The cause of its death, a segmentation fault
or a call that never returns, cannot be caught inside it.

``python -P -m pipeline.engine.executors.examine`` is that child.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

import numpy as np

from pipeline.engine.executors.deadline import GRACE, START, deadline
from pipeline.engine.gpu import DeviceLostError
from pipeline.engine.import_path import import_path
from pipeline.engine.job import Culprits, Job
from pipeline.engine.plan import Group, process
from pipeline.store.manifest import Shard
from stages.batch import ImageError, Stage, concat, length, take
from stages.errors import UserError

TRIES = 2
"""Number of times that an image, alone in its batch, must end its process before it is given up."""
IN_A_ROW = 16
"""Number of consecutive images given up after which the images are probably not the cause."""

Probe = Callable[[list[int]], ImageError | None]
"""A function that takes rows of a shard through the stages together and returns why the process ended, or None."""


class ExaminationError(UserError):
    """The process dies whichever image it is given."""


def examine(groups: list[Group], job: Job, shard: Shard, known: Culprits) -> dict[int, ImageError]:
    """Find the images of a shard that kill or hang a process, in addition to those already known.

    Args:
        groups: The whole plan.
        job: Source of the shard's rows, batch size and time limit.
        shard: The shard.
        known: Images to leave out.

    Raises:
        ExaminationError: The process dies before its first image, or on :data:`IN_A_ROW` consecutive images.
    """
    ids = concat(job.batches(shard))["image_id"].tolist()
    rows = range(len(ids))
    batches = [
        [row for row in rows[at : at + job.batch_size] if ids[row] not in known] for at in rows[:: job.batch_size]
    ]
    with _Child(groups, job, shard) as child:
        return {ids[row]: error for row, error in search(batches, child).items()}


def search(batches: list[list[int]], probe: Probe) -> dict[int, ImageError]:
    """Find the rows that end their process when they are alone in it, and why.

    Args:
        batches: Rows that are processed together.
        probe: Tries some rows.

    Raises:
        ExaminationError: :data:`IN_A_ROW` consecutive rows end their process.
    """
    found: dict[int, ImageError] = {}
    in_a_row = 0
    for batch in filter(None, batches):
        if probe(batch) is None:
            in_a_row = 0
            continue
        for row in batch:
            error = _fatal(row, probe)
            if error is None:
                in_a_row = 0
                continue
            found[row] = error
            in_a_row += 1
            if in_a_row == IN_A_ROW:
                raise ExaminationError(
                    f"{IN_A_ROW} images in a row end their process, so the images are not to blame; the last one: "
                    f"{error.message} (in {error.stage})"
                )
    return found


def _fatal(row: int, probe: Probe) -> ImageError | None:
    error = None
    for _ in range(TRIES):
        error = probe([row])
        if error is None:
            return None
    return error and replace(error, attempts=TRIES)


class _Child:
    """The child process that tries images; a new one replaces one that died."""

    def __init__(self, groups: list[Group], job: Job, shard: Shard) -> None:
        self.timeout = job.timeout
        self.parcel = pickle.dumps(([stage for group in groups for stage in group.stages], job, shard))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self._end(self.process)

    def __call__(self, rows: list[int]) -> ImageError | None:
        """Try some rows together; a child that is stopped, and cannot end itself at the time limit, is given up."""
        child = self.process = self.process or self._start()
        started = time.monotonic()
        _send(child, json.dumps(rows).encode() + b"\n")
        step = "setup"
        while note := self._note(started + self.timeout + GRACE):
            if note == "done":
                return None
            step = note
        self.process = None
        code = self._end(child)
        if time.monotonic() - started >= self.timeout:
            return ImageError(step, "TimedOut", f"not done after runtime.timeout={self.timeout:g} s")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ImageError(step, "WorkerCrashed", f"ended its process with {how}; remove it from the dataset")

    def _start(self) -> subprocess.Popen[bytes]:
        for _ in range(TRIES):
            reading, writing = os.pipe()
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(writing)],  # -P: not from the current folder
                stdin=subprocess.PIPE,
                pass_fds=[writing],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(import_path())},
            )
            os.close(writing)
            self.notes, self.unread = reading, b""
            # In a thread, because a child that is stopped before it has read the parcel would block this one.
            threading.Thread(target=_send, args=(child, self.parcel), daemon=True).start()
            if self._note(time.monotonic() + self.timeout + START) == "ready":
                return child
            code = self._end(child)
        raise ExaminationError(f"a process cannot set up the stages (exit code {code})")

    def _note(self, until: float) -> str:
        """The child's next line; empty once it has ended, or when it has written none until then."""
        while b"\n" not in self.unread:
            left = None if math.isinf(until) else max(until - time.monotonic(), 0)
            data = os.read(self.notes, 4096) if select.select([self.notes], [], [], left)[0] else b""
            if not data:
                return ""
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        return line.decode()

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """Kill the child if it is not dead yet, and return its exit code."""
        os.close(self.notes)
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # It may wait for a disk that does not answer.
            child.wait(GRACE)
            child.communicate()  # Close its stdin.
        return child.poll() or 0


def _send(child: subprocess.Popen[bytes], data: bytes) -> None:
    """Write to the child's stdin; its death is noticed where its notes end."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.write(data)
        child.stdin.flush()


def _serve(notes: int) -> None:
    """Set up the stages that are first on stdin, then take the rows of each further line through them."""
    stages: list[Stage]
    job: Job
    stages, job, shard = pickle.load(sys.stdin.buffer)
    with deadline(job.timeout + START):  # The first reading imports libraries.
        batch = concat(job.batches(shard))
    with deadline(job.timeout):
        for stage in stages:
            stage.setup()
    _say(notes, "ready")
    for line in sys.stdin.buffer:
        rows = take(batch, np.array(json.loads(line), dtype=np.int64))
        try:
            with deadline(job.timeout):
                for stage in stages:
                    _say(notes, type(stage).__name__.lower())
                    rows = process([stage], rows).rows
                    if not length(rows):
                        break
        except DeviceLostError:
            raise
        except Exception as error:
            # An exception does not kill the process: the worker raises it as well and handles it there.
            print(error, file=sys.stderr)
        _say(notes, "done")


def _say(notes: int, what: str) -> None:
    os.write(notes, f"{what}\n".encode())  # Unbuffered: in the pipe it survives this process.


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
