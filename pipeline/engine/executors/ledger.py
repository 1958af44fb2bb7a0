"""Which shards are to do, which were lost how often, and what is done about it. Knows nothing of Ray.

A worker process that dies takes its shards with it. The first time a shard is merely tried again, since
the death need not be its doing. It runs alone then, and when that costs further workers its images are
examined one by one in processes of their own (:mod:`pipeline.engine.executors.examine`): those that kill or hang
a process end in ``errors``, and the shard runs once more without them. What a stage *raises* is never
tried again; it would be raised again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.engine.job import Culprits, Report
from pipeline.store.manifest import Shard
from stages.errors import UserError

ATTEMPTS = 3
"""Times that a shard is tried, and again that it is examined, when workers die of it."""


class ShardFailedError(UserError):
    """A shard killed its workers as often as it was tried, and no image of it can be blamed."""


@dataclass(frozen=True)
class Lost:
    """A worker died while it had a task.

    Attributes:
        cause: One line.
    """

    cause: str


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do with a shard.

    Attributes:
        shard: The shard.
        attempt: How often this was tried, this time included.
        culprits: Images to leave out.
        examine: Look for more of them; otherwise process and commit.
    """

    shard: Shard
    attempt: int = 1
    culprits: Culprits = field(default_factory=dict)
    examine: bool = False

    @property
    def alone(self) -> bool:
        """Whether its worker may have no other task meanwhile, which it might take with it."""
        return self.attempt > 1 or self.examine or bool(self.culprits)


Result = Report | Culprits | Lost
"""What comes of a task: a commit, what an examination found, or a dead worker."""


class Pool(Protocol):
    """Workers, wherever they are."""

    def dispatch(self, task: Task) -> bool:
        """Give the task to a worker; False while all have enough to do."""

    def wait(self) -> Iterable[tuple[Task, Result]]:
        """Wait a moment for tasks that came to an end, however they did."""


class Ledger:
    """The tasks that are left.

    Args:
        shards: Those to do.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.waiting = deque(Task(shard) for shard in shards)
        self.running = 0
        self._cleared: set[int] = set()

    def forget(self) -> None:
        """Begin nothing more; what runs may finish."""
        self.waiting.clear()

    @property
    def finished(self) -> bool:
        """Whether nothing waits or runs."""
        return not self.waiting and not self.running

    def close(self, task: Task, result: Result) -> Report | None:
        """Enter what came of a running task: the report of a commit, or None where the shard waits again.

        Raises:
            ShardFailedError: Workers die of the shard and no image can be blamed.
        """
        self.running -= 1
        if isinstance(result, Report):
            return result
        self.waiting.append(self._again(task, result))
        return None

    def _again(self, task: Task, result: Culprits | Lost) -> Task:
        if not isinstance(result, Lost):
            if not result:
                self._cleared.add(task.shard.index)
            return Task(task.shard, culprits={**task.culprits, **result})
        if task.attempt < ATTEMPTS:
            return replace(task, attempt=task.attempt + 1)
        if not task.examine and task.shard.index not in self._cleared:
            return replace(task, attempt=1, examine=True)
        blame = (
            "the process that examines its images died, too, such as for want of memory"
            if task.examine
            else "no image of it does so alone, so it may be the size of the batch, the memory or runtime.timeout"
        )
        raise ShardFailedError(
            f"shard {task.shard.index} (manifest rows {task.shard.start} to {task.shard.stop - 1}) killed its worker "
            f"{ATTEMPTS} times; {blame}; committed shards are safe. Last cause: {result.cause}"
        )


def drive(ledger: Ledger, pool: Pool, stop: Callable[[], bool] = lambda: False) -> Iterator[Report]:
    """Give tasks to workers until none is left, or until it is time to stop and those under way are done.

    Yields:
        A report after each commit, in order of completion.

    Raises:
        ShardFailedError: Workers die of a shard and no image can be blamed.
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
