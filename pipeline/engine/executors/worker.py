"""The work of Ray's worker processes: an actor that holds stages, and tasks before and after it.

Each step is bounded by the time limit of the job, at which the process ends itself, and is announced to the driver,
which replaces processes that cannot (:mod:`pipeline.engine.executors.pulse`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import ray

from pipeline.engine.executors.deadline import START, deadline, under_way
from pipeline.engine.executors.examine import examine
from pipeline.engine.executors.pulse import Beats, Step
from pipeline.engine.gpu import AT_ONCE, DeviceLostError
from pipeline.engine.job import Committed, Culprits, Job, advance
from pipeline.engine.journal import journal
from pipeline.engine.plan import Group, Outcome, total
from pipeline.store.manifest import Shard

Announce = Callable[[], None]
"""Called before each step."""


class Worker:
    """An actor that holds the stages of one group."""

    def __init__(self, group: Group, job: Job, commits: bool) -> None:
        self.group, self.job, self.commits = group, job, commits
        self.beats = Beats()
        self.threads = ThreadPoolExecutor(AT_ONCE) if group.resources.gpus else None
        self._open = ExitStack()  # for as long as this process lives

    def setup(self) -> None:
        """Prepare the stages; not done on construction, because Ray obscures errors that are raised there."""
        with deadline(self.job.timeout):
            self.journal = self._open.enter_context(journal(self.job.run))
            with _ending_without_device():
                self.group.setup()

    def run(self, shard: Shard, given: Culprits | list[Outcome]) -> list[Outcome] | Committed:
        """Take a shard through the group, from the manifest or from the outcomes of the group before."""
        outcomes = given if isinstance(given, list) else _read(self.job, shard, given)
        outcomes = _advance(self.group, self.job, outcomes, threads=self.threads)
        with deadline(self.job.timeout):
            self.journal.processed(shard.index, total(outcome.seconds for outcome in outcomes))
        return _commit(self.job, shard, outcomes) if self.commits else outcomes

    def examine(self, shard: Shard, known: Culprits, *groups: Group) -> Culprits:
        """Find the images that kill the workers, in a second process that also holds the stages."""
        return examine(list(groups), self.job, shard, known)

    @ray.method(concurrency_group="pulse")
    def beat(self, step: Step) -> None:
        """Note that a task that serves this worker has begun a step."""
        self.beats.add(step)

    @ray.method(concurrency_group="pulse")
    def pulse(self, oldest: int) -> tuple[float, dict[Step, float]]:
        """Seconds that the step under way has taken so far, and those since the last sign of each task."""
        return under_way(), self.beats.since(oldest)


def load(group: Group, job: Job, shard: Shard, culprits: Culprits, announce: Announce) -> list[Outcome]:
    """Take a shard through the group before the model workers'."""
    announce()
    with deadline(job.timeout):
        group.setup()
    announce()
    return _advance(group, job, _read(job, shard, culprits), announce)


def finish(group: Group, job: Job, shard: Shard, outcomes: list[Outcome], announce: Announce) -> Committed:
    """Take a shard through the group after the model workers', and commit it."""
    announce()
    with deadline(job.timeout):
        group.setup()
    outcomes = _advance(group, job, outcomes, announce)
    announce()
    return _commit(job, shard, outcomes)


def _read(job: Job, shard: Shard, culprits: Culprits) -> list[Outcome]:
    with deadline(job.timeout + START):  # The first reading imports libraries.
        return job.load(shard, culprits)


def _advance(
    group: Group,
    job: Job,
    outcomes: list[Outcome],
    announce: Announce = lambda: None,
    threads: ThreadPoolExecutor | None = None,
) -> list[Outcome]:
    done = []
    with _ending_without_device():
        begun = [threads.submit(advance, group, outcome) for outcome in outcomes] if threads else []
        results = [one.result for one in begun] or [partial(advance, group, outcome) for outcome in outcomes]
        try:
            for result in results:
                announce()
                with deadline(job.timeout):
                    done.append(result())
        finally:
            for one in begun:
                one.cancel()
    return done


@contextmanager
def _ending_without_device() -> Iterator[None]:
    """End this process when its GPU is lost: the shard is tried again in another, as after a crash."""
    try:
        yield
    except DeviceLostError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)


def _commit(job: Job, shard: Shard, outcomes: list[Outcome]) -> Committed:
    with deadline(job.timeout):
        return job.commit(shard, outcomes)
