"""Execution of a plan on Ray, in worker processes on this machine or on a cluster."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from pipeline.engine.executors.cluster import check_cluster, connect, disconnect
from pipeline.engine.executors.deadline import deadline
from pipeline.engine.executors.examine import examine
from pipeline.engine.executors.ledger import ATTEMPTS, Ledger, Lost, Result, ShardFailedError, Task, drive
from pipeline.engine.job import Committed, Culprits, Job, advance
from pipeline.engine.journal import journal
from pipeline.engine.plan import Group, Outcome, total
from pipeline.store.manifest import Shard
from stages.errors import first_line

log = logging.getLogger("wsl_pipeline")

IN_FLIGHT = 2
"""Number of shards that a worker has at once, so that the next one's pixels are ready when it finishes one."""
MOST_IN_FLIGHT = 16
"""Maximum number of shards that a worker has at once, where several cores decode for it."""
LOOK_EVERY = 5.0
"""Seconds between checks of the cluster, whose nodes come and go."""


class Worker:
    """An actor that holds the stages of one group."""

    def __init__(self, group: Group, job: Job, commits: bool) -> None:
        self.group, self.job, self.commits = group, job, commits
        self._open = ExitStack()  # for as long as this process lives

    def setup(self) -> None:
        """Prepare the stages; not done on construction, because Ray obscures errors that are raised there."""
        self.journal = self._open.enter_context(journal(self.job.run))
        with deadline(self.job.timeout):
            self.group.setup()

    def run(self, shard: Shard, given: Culprits | list[Outcome]) -> list[Outcome] | Committed:
        """Take a shard through the group, from the manifest or from the outcomes of the group before."""
        outcomes = given if isinstance(given, list) else self.job.load(shard, given)
        outcomes = _advance(self.group, self.job, outcomes)
        self.journal.processed(shard.index, total(outcome.seconds for outcome in outcomes))
        return _commit(self.job, shard, outcomes) if self.commits else outcomes

    def examine(self, shard: Shard, known: Culprits, *groups: Group) -> Culprits:
        """Find the images that kill the workers, in a second process that also holds the stages."""
        return examine(list(groups), self.job, shard, known)


def _load(group: Group, job: Job, shard: Shard, culprits: Culprits) -> list[Outcome]:
    group.setup()
    return _advance(group, job, job.load(shard, culprits))


def _finish(group: Group, job: Job, shard: Shard, outcomes: list[Outcome]) -> Committed:
    group.setup()
    return _commit(job, shard, _advance(group, job, outcomes))


def _advance(group: Group, job: Job, outcomes: list[Outcome]) -> list[Outcome]:
    done = []
    for outcome in outcomes:
        with deadline(job.timeout):
            done.append(advance(group.stages, outcome))
    return done


def _commit(job: Job, shard: Shard, outcomes: list[Outcome]) -> Committed:
    with deadline(job.timeout):
        return job.commit(shard, outcomes)


def check() -> None:
    """Check that the cluster answers; a local one is started only when it is needed.

    Raises:
        ConfigurationError: It does not.
    """
    check_cluster()


@contextmanager
def trial() -> Iterator[None]:
    """Leave the cluster afterwards, and end a local one, unless this process had joined it before."""
    before = ray.is_initialized()
    try:
        yield
    finally:
        if not before:
            disconnect()


def capacity() -> tuple[int, float]:
    """CPU cores and GPUs of the cluster."""
    connect()
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1)), resources.get("GPU", 0)


def execute(
    groups: list[Group],
    shards: list[Shard],
    job: Job,
    workers: int | None,
    ready: Callable[[], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Committed]:
    """Process shards on Ray and commit each in the worker that finished it.

    A plan of one group runs entirely in actors. A plan of three groups runs as CPU tasks that load, actors
    that hold the network, and CPU tasks that make boxes and commit; data between them go through
    the object store, never through the driver.

    Args:
        groups: The plan: one group, or three of which the middle one holds the network.
        shards: The shards still to do.
        job: The shared settings.
        workers: Number of actors that hold the network; None for as many as the cluster has room for, now and later.
        ready: Called when the first actor is ready.
        stop: Called repeatedly; once it returns True, no shard is begun.

    Yields:
        A report after each commit, in order of completion.

    Raises:
        ShardFailedError: A shard kills its workers and no single image is the cause, or workers die while they start.
    """
    connect()
    pool = _Pool(groups, job, len(shards) if workers is None else min(workers, len(shards)), ready)
    try:
        yield from drive(Ledger(shards), pool, stop)
    finally:
        pool.stop()


class _Pool:
    """The model workers and their shards. The driver handles recovery; Ray restarts nothing."""

    def __init__(self, groups: list[Group], job: Job, most: int, ready: Callable[[], None]) -> None:
        self.groups, self.job, self.most, self.ready = groups, job, most, ready
        self.was_ready = False
        self.model = groups[0] if len(groups) == 1 else groups[1]
        self.shared = [ray.put(group) for group in groups], ray.put(job)
        # Made once: Ray treats every remote function object as a new function and sends it to all workers.
        self.tasks = [ray.remote(one).options(num_cpus=1, max_retries=0) for one in (_load, _finish)]
        self.starting: dict[ray.ObjectRef[Any], ray.actor.ActorHandle[Any]] = {}
        self.load: dict[ray.actor.ActorHandle[Any], int] = {}
        self.busy: dict[ray.ObjectRef[Any], tuple[Task, ray.actor.ActorHandle[Any]]] = {}
        self.failed_starts = 0
        self.room = self.depth = 0
        self.looked = -math.inf

    def dispatch(self, task: Task) -> bool:
        """Give a task to the least busy worker; False while all are busy.

        Only workers that have answered count: a dead one fails at once and would look idle. A task that
        runs alone cannot cause the loss of other shards.
        """
        room = 1 if task.alone else self.depth
        free = [actor for actor, load in self.load.items() if load < room]
        if not free:
            return False
        actor = min(free, key=lambda one: self.load[one])
        refs, job = self.shared
        done: Any
        if task.examine:
            done = actor.examine.remote(task.shard, task.culprits, *refs)
        elif len(self.groups) == 1:
            done = actor.run.remote(task.shard, task.culprits)
        else:
            load, finish = self.tasks
            explained: Any = actor.run.remote(task.shard, load.remote(refs[0], job, task.shard, task.culprits))
            done = finish.remote(refs[2], job, task.shard, explained)
        self.busy[done] = task, actor
        self.load[actor] += self._weight(task)
        return True

    def _weight(self, task: Task) -> int:
        return MOST_IN_FLIGHT if task.alone else 1

    def wait(self) -> Iterator[tuple[Task, Result]]:
        """Finished tasks with their reports or findings, or with the errors of workers that died.

        Raises:
            Exception: A stage or a worker's set-up raised it; a retry would raise it again.
        """
        self._hire()
        ready, _ = ray.wait([*self.busy, *self.starting], num_returns=1, timeout=1)
        for ref in ready:
            if ref in self.starting:
                self._started(ref)
                continue
            task, actor = self.busy.pop(ref)
            if actor in self.load:
                self.load[actor] -= self._weight(task)
            try:
                yield task, ray.get(ref)
            except RayError as error:
                # A task that waited for a dead worker's result fails with that worker's error as its cause.
                cause = error.cause if isinstance(error, RayTaskError) else error
                # A plain RayError wraps errors that cannot be pickled.
                if not isinstance(cause, RayError) or type(cause) is RayError:
                    raise cause from None
                yield task, self._lost(task, actor, cause)

    def _hire(self) -> None:
        """Start workers where there is room: at the beginning, in place of dead ones, on nodes that joined."""
        if time.monotonic() - self.looked >= LOOK_EVERY:
            self._look()
        here = len(self.load) + len(self.starting)
        if not here or self.failed_starts < ATTEMPTS:
            for _ in range(min(self.room, self.most) - here):
                self._start()

    def _look(self) -> None:
        """Determine how many workers the cluster has room for, and how many shards keep the cores of one busy."""
        self.looked = time.monotonic()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        kind, share = ("GPU", self.model.resources.gpus) if self.model.resources.gpus else ("CPU", self._cpus)
        room = max(sum(math.floor(node.get(kind, 0) / share + 1e-9) for node in nodes), 1)
        if room > self.room:
            self.failed_starts = 0  # Workers may start on the new nodes.
        self.room = room
        self.depth = IN_FLIGHT
        if len(self.groups) > 1:
            cores = sum(node.get("CPU", 0) for node in nodes) / min(room, self.most)
            self.depth = min(MOST_IN_FLIGHT, max(IN_FLIGHT, math.ceil(cores)))

    @property
    def _cpus(self) -> float:
        # Tasks need cores next to the actors that hold a GPU: actors that took all cores would wait forever.
        return self.model.resources.cpus if len(self.groups) == 1 else 0

    def _start(self) -> None:
        options = {"num_cpus": self._cpus, "num_gpus": self.model.resources.gpus}
        options |= {"max_restarts": 0, "max_task_retries": 0}
        # Shards run in the order in which they are loaded, not in the order of dispatch.
        options |= {"allow_out_of_order_execution": True}
        groups, job = self.shared
        actor: Any = ray.remote(Worker).options(**options)
        actor = actor.remote(groups[self.groups.index(self.model)], job, len(groups) == 1)
        self.starting[actor.setup.remote()] = actor

    def _started(self, ref: ray.ObjectRef[Any]) -> None:
        actor = self.starting.pop(ref)
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise (error.cause or error) from None
        except RayError as error:
            self.failed_starts += 1
            # Errors of the process itself, such as a missing module, are at the end of Ray's message.
            cause = f"{first_line(error)} {str(error).strip().splitlines()[-1]}"
            log.warning("a worker died while it started: %s", cause)
            if self.failed_starts >= ATTEMPTS and not self.load:
                raise ShardFailedError(f"workers die while they start: {cause}") from None
        else:
            self.failed_starts = 0
            self.load[actor] = 0
            if not self.was_ready:
                self.was_ready = True
                self.ready()

    def _lost(self, task: Task, actor: ray.actor.ActorHandle[Any], error: RayError) -> Lost:
        """Record a lost task, and release its worker if the worker died."""
        log.warning("shard %d lost its worker and is tried again: %s", task.shard.index, first_line(error))
        if isinstance(error, RayActorError) and actor in self.load:
            ray.kill(actor)
            del self.load[actor]
        return Lost(first_line(error))

    def stop(self) -> None:
        """Release the workers."""
        for actor in [*self.load, *self.starting.values()]:
            ray.kill(actor)
