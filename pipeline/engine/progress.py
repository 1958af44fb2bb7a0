"""Counts and times of a run in progress, for callbacks and for ``run.json``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pipeline.engine.job import Committed
from pipeline.engine.journal import Journal
from pipeline.engine.machine import peak_memory, process_name
from pipeline.engine.plan import total
from pipeline.store.directory import Directory
from pipeline.store.info import Call, RunInfo

log = logging.getLogger("wsl_pipeline")

Result = TypeVar("Result")

SAVE_EVERY = 5.0
"""Minimum seconds between writes of ``run.json`` while shards are committed."""
RECENT = 600.0
"""Seconds for which a process that worked on a shard counts as a worker."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        images: Images in the manifest.
        done: Images committed by this call and before it.
        computed: Images committed by this call.
        failed: Number of those that ended in ``errors``.
        seconds: Seconds since the workers were ready.
    """

    images: int
    done: int
    computed: int
    failed: int
    seconds: float


class Session:
    """The bookkeeping of one call in ``run.json``, on top of that of earlier calls.

    Args:
        run: The run.
        info: Its ``run.json``; modified and saved.
        watch: Called with the progress at the start and after each commit.
    """

    def __init__(self, run: Directory[Any], info: RunInfo, watch: Callable[[Progress], None]) -> None:
        self.run, self.info, self.watch = run, info, watch
        self.journal: Journal | None = None
        self.done = self.computed = self.failed = 0
        self._before = info.computed_images, info.wall_seconds
        self._ready = self._saved = time.perf_counter()
        self._seen: dict[str, float] = {}
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self._call = Call(process=process_name(), started=started)

    def start(self) -> None:
        """Start the clock: the workers are ready."""
        self._ready = time.perf_counter()
        self._tell(0.0)

    def add(self, report: Committed) -> None:
        """Count a committed shard."""
        self.done += report.images
        self.computed += report.images
        self.failed += report.failed
        now = time.perf_counter()
        elapsed = now - self._ready
        images, wall = self._before[0] + self.computed, self._before[1] + elapsed
        self._seen |= dict.fromkeys(report.memory, now)
        self._call.images_per_second = round(self.computed / elapsed, 3)
        self.info.computed_images, self.info.wall_seconds = images, round(wall, 3)
        self.info.images_per_second = round(images / wall, 3)
        self._remember("workers", max(report.memory.values()))
        self._spend(report.seconds)
        if self.journal:
            self.journal.commit(report)
        self._check_machine(report)
        if now - self._saved >= SAVE_EVERY:
            self.save()
        self._tell(elapsed)

    def time(self, name: str, step: Callable[[], Result]) -> Result:
        """Run a step and record its seconds."""
        started = time.perf_counter()
        result = step()
        self._spend({name: time.perf_counter() - started})
        return result

    def save(self) -> None:
        """Write ``run.json``."""
        now = self._saved = time.perf_counter()
        self._seen = {name: seen for name, seen in self._seen.items() if now - seen < RECENT}
        self._remember("driver", peak_memory())
        self._call.workers = len(self._seen)
        self.info.call = self._call
        self.run.write_info(self.info)

    def _check_machine(self, report: Committed) -> None:
        """Warn once of each kind of machine other than those that made the parts so far.

        Unlike CPUs and GPUs, which are not mixed, kinds differ in the last bits only, and a cluster may have several.
        """
        others = {kind: shard for shard, kind in self.run.machines.items() if shard != report.shard}
        if report.machine and others and report.machine not in others:
            kind, shard = next(iter(others.items()))
            log.warning(
                "the maps of shard %d were computed on %s, those of others, such as %d, on %s: equal images may differ "
                "in the last digits; go on with one kind of machine, or choose another --out",
                *(report.shard, report.machine, shard, kind),
            )
        if report.machine:
            self.run.machines[report.shard] = report.machine

    def _remember(self, which: str, memory: float) -> None:
        """Record the peak resident memory, in MiB, of a kind of process."""
        peaks = self.info.peak_memory_mib
        peaks[which] = max(peaks.get(which, 0.0), memory)

    def _spend(self, seconds: dict[str, float]) -> None:
        spent = total([self.info.seconds, seconds])
        self.info.seconds = {name: round(value, 3) for name, value in sorted(spent.items())}

    def _tell(self, elapsed: float) -> None:
        self.watch(Progress(self.info.images, self.done, self.computed, self.failed, elapsed))
