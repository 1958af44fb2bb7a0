"""Record of the shards still to do and of their lost attempts, and the retry policy; independent of Ray.

A worker process that dies loses its shards. After the first loss a shard is merely tried again, since it need not be
the cause. It then runs alone, and when that costs further workers its images are examined one by one in separate
processes (:mod:`pipeline.engine.executors.examine`): those that kill or hang a process end in ``errors``, and the
shard runs once more without them. An exception that a stage *raises* is never retried; it would be raised again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.engine.job import Committed, Culprits
from pipeline.store.manifest import Shard
from stages.errors import UserError

ATTEMPTS = 3
"""Number of times that a shard is tried, and then examined, when it kills its workers."""


class ShardFailedError(UserError):
    """A shard killed its workers on every attempt, and no single image is the cause."""


@dataclass(frozen=True)
class Lost:
    """A worker died while it had a task, or was given up.

    Attributes:
        cause: The cause, in one line.
        begun: Whether it may have begun the task, which is then an attempt.
    """

    cause: str
    begun: bool = True


@dataclass(frozen=True)
class Task:
    """A worker's task on a shard.

    Attributes:
        shard: The shard.
        attempt: Number of the attempt, from 1.
        culprits: Images to leave out.
        examine: Whether to look for further images to leave out, not to process and commit.
    """

    shard: Shard
    attempt: int = 1
    culprits: Culprits = field(default_factory=dict)
    examine: bool = False

    @property
    def alone(self) -> bool:
        """Whether its worker may have no other task meanwhile, which would be lost with the worker."""
        return self.attempt > 1 or self.examine or bool(self.culprits)


Result = Committed | Culprits | Lost
"""Result of a task: a commit, the findings of an examination, or a dead worker."""


class Pool(Protocol):
    """A pool of workers on any backend."""

    def dispatch(self, task: Task) -> bool:
        """Give the task to a worker; False while all are busy."""

    def wait(self) -> Iterable[tuple[Task, Result]]:
        """Wait briefly for tasks that ended, successfully or not."""


class Ledger:
    """The tasks that are waiting or running.

    Args:
        shards: The shards to do.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.waiting = deque(Task(shard) for shard in shards)
        self.running = 0
        self._cleared: set[int] = set()

    def forget(self) -> None:
        """Drop the waiting tasks; running tasks may finish."""
        self.waiting.clear()

    @property
    def finished(self) -> bool:
        """Whether no task is waiting or running."""
        return not self.waiting and not self.running

    def close(self, task: Task, result: Result) -> Committed | None:
        """Enter the result of a running task; returns the report of a commit, or None where the shard waits again.

        Raises:
            ShardFailedError: The shard kills its workers and no single image is the cause.
        """
        self.running -= 1
        if isinstance(result, Committed):
            return result
        self.waiting.append(self._again(task, result))
        return None

    def _again(self, task: Task, result: Culprits | Lost) -> Task:
        if not isinstance(result, Lost):
            if not result:
                self._cleared.add(task.shard.index)
            return Task(task.shard, culprits={**task.culprits, **result})
        if not result.begun:
            return task
        if task.attempt < ATTEMPTS:
            return replace(task, attempt=task.attempt + 1)
        if not task.examine and task.shard.index not in self._cleared:
            return replace(task, attempt=1, examine=True)
        blame = (
            "the process that examines its images died as well, possibly out of memory"
            if task.examine
            else "no image of it does so alone, so it may be the size of the batch, the memory or runtime.timeout"
        )
        raise ShardFailedError(
            f"shard {task.shard.index} (manifest rows {task.shard.start} to {task.shard.stop - 1}) killed its worker "
            f"{ATTEMPTS} times; {blame}; committed shards are safe. Last cause: {result.cause}"
        )


def drive(ledger: Ledger, pool: Pool, stop: Callable[[], bool] = lambda: False) -> Iterator[Committed]:
    """Give tasks to workers until none is left, or until ``stop`` returns True and the running ones are done.

    Yields:
        A report after each commit, in order of completion.

    Raises:
        ShardFailedError: A shard kills its workers and no single image is the cause.
    """
    while not ledger.finished:
        if stop():
            ledger.forget()
        while ledger.waiting and pool.dispatch(ledger.waiting[0]):
            ledger.waiting.popleft()
            ledger.running += 1
        for task, result in pool.wait():
            report = ledger.close(task, result)
            if report is not None:
                yield report
