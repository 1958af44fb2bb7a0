"""Runs a plan on Ray: worker processes on this machine or on a cluster. The only module that imports ray."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.manifest import Shard
from pipeline.plan import Group, Outcome, process
from pipeline.shards import Job, Report
from stages.errors import ConfigurationError, UserError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

log = logging.getLogger("wsl_pipeline")

ATTEMPTS = 3
"""Times that a shard is tried when workers die; deterministic errors are not retried."""
IN_FLIGHT = 2
"""Shards that a worker has at once, so that the next one's pixels are there when it is done."""


class ShardFailedError(UserError):
    """A shard killed its workers as often as it was tried."""


class Worker:
    """An actor that holds the stages of one group."""

    def __init__(self, group: Group, job: Job, commits: bool) -> None:
        self.group, self.job, self.commits = group, job, commits

    def setup(self) -> None:
        """Prepare the stages. Not done on construction, whose errors Ray wraps beyond recognition."""
        self.group.setup()

    def run(self, shard: Shard, outcomes: list[Outcome] | None = None) -> list[Outcome] | Report:
        """Take a shard through the group: from the manifest, or from what the group before made of it."""
        outcomes = advance(self.group, self.job, shard, outcomes)
        return self.job.commit(shard, outcomes) if self.commits else outcomes


def advance(group: Group, job: Job, shard: Shard, outcomes: list[Outcome] | None) -> list[Outcome]:
    """Take a shard's batches through one group."""
    if outcomes is None:
        return [process(group.stages, batch) for batch in job.batches(shard)]
    done = []
    for before in outcomes:
        after = process(group.stages, before.rows)
        done.append(Outcome(after.rows, before.errors + after.errors, before.seconds | after.seconds))
    return done


def _load(group: Group, job: Job, shard: Shard) -> list[Outcome]:
    group.setup()
    return advance(group, job, shard, None)


def _finish(group: Group, job: Job, shard: Shard, outcomes: list[Outcome]) -> Report:
    group.setup()
    return job.commit(shard, advance(group, job, shard, outcomes))


def capacity() -> tuple[int, float]:
    """CPU cores and GPUs of the cluster."""
    _connect()
    resources = ray.cluster_resources()
    return int(resources.get("CPU", 1)), resources.get("GPU", 0)


def execute(
    groups: list[Group], shards: list[Shard], job: Job, workers: int, ready: Callable[[], None]
) -> Iterator[Report]:
    """Process shards on Ray and commit each in the worker that finished it.

    A plan of one group runs whole in actors. A plan of three groups runs as CPU tasks that load, actors
    that hold the network, and CPU tasks that make boxes and commit; what flows between them goes through
    the object store, never through the driver.

    Args:
        groups: The plan: one group, or three of which the middle one holds the network.
        shards: Those still to do.
        job: What they share.
        workers: Actors that hold the network.
        ready: Called when the first of them is.

    Yields:
        A report after each commit, in order of completion.

    Raises:
        ShardFailedError: Workers died on the same shard :data:`ATTEMPTS` times.
    """
    _connect()
    pool = _Pool(groups, job, min(workers, len(shards)), ready)
    todo = deque((shard, 1) for shard in shards)
    try:
        while todo or pool.busy:
            while todo and pool.dispatch(*todo[0]):
                todo.popleft()
            for shard, attempt, result in pool.wait():
                if isinstance(result, Report):
                    yield result
                elif attempt == ATTEMPTS:
                    raise ShardFailedError(
                        f"shard {shard.index} (manifest rows {shard.start} to {shard.stop - 1}) killed its worker "
                        f"{ATTEMPTS} times; committed shards are safe. Last cause: {_first_line(result)}"
                    )
                else:
                    log.warning("shard %d lost its worker and is tried again: %s", shard.index, _first_line(result))
                    todo.append((shard, attempt + 1))
    finally:
        pool.stop()


class _Pool:
    """The model workers and the shards that are with them. The driver owns recovery, Ray restarts nothing."""

    def __init__(self, groups: list[Group], job: Job, workers: int, ready: Callable[[], None]) -> None:
        self.ready, self.was_ready = ready, False
        self.groups, self.job = groups, job
        self.model = groups[0] if len(groups) == 1 else groups[1]
        self.shared = [ray.put(group) for group in groups], ray.put(job)
        self.starting: dict[ray.ObjectRef, ray.actor.ActorHandle] = {}
        self.load: dict[ray.actor.ActorHandle, int] = {}
        self.busy: dict[ray.ObjectRef, tuple[Shard, int, ray.actor.ActorHandle]] = {}
        self.failed_starts = 0
        for _ in range(workers):
            self._start()

    def _start(self) -> None:
        wanted = self.model.resources
        # Beside actors that hold a GPU, tasks need the cores: actors that took them all would wait for ever.
        cpus = wanted.cpus if len(self.groups) == 1 else 0
        options = {"num_cpus": cpus, "num_gpus": wanted.gpus, "max_restarts": 0, "max_task_retries": 0}
        groups, job = self.shared
        actor: Any = ray.remote(Worker).options(**options)
        actor = actor.remote(groups[self.groups.index(self.model)], job, len(groups) == 1)
        self.starting[actor.setup.remote()] = actor

    def dispatch(self, shard: Shard, attempt: int) -> bool:
        """Give a shard to the worker with the least to do; False while all have enough.

        Only workers that have answered count: a dead one fails at once and would look idle. A shard that
        is tried again runs alone on its worker, so that it takes no other shard down with it.
        """
        room = 1 if attempt > 1 else IN_FLIGHT
        free = [actor for actor, load in self.load.items() if load < room]
        if not free:
            return False
        actor = min(free, key=lambda one: self.load[one])
        refs, job = self.shared
        explained: Any
        done: Any
        if len(self.groups) == 1:
            done = actor.run.remote(shard)
        else:
            load, finish = (ray.remote(task).options(num_cpus=1, max_retries=0) for task in (_load, _finish))
            explained = actor.run.remote(shard, load.remote(refs[0], job, shard))
            done = finish.remote(refs[2], job, shard, explained)
        self.busy[done] = (shard, attempt, actor)
        self.load[actor] += IN_FLIGHT if attempt > 1 else 1
        return True

    def wait(self) -> Iterator[tuple[Shard, int, Report | RayError]]:
        """What came back: reports, or the errors of shards whose workers died.

        Raises:
            Exception: What a stage or a worker's set-up raised; trying again would raise it again.
        """
        ready, _ = ray.wait([*self.busy, *self.starting], num_returns=1, timeout=1)
        for ref in ready:
            if ref in self.starting:
                self._started(ref)
                continue
            shard, attempt, actor = self.busy.pop(ref)
            if actor in self.load:
                self.load[actor] -= IN_FLIGHT if attempt > 1 else 1
            try:
                yield shard, attempt, ray.get(ref)
            except RayTaskError as error:
                # A task that waited for a dead worker's result fails with that worker's error as its cause.
                if not isinstance(error.cause, RayError):
                    raise error.cause from None
                yield shard, attempt, self._lost(actor, error.cause)
            except RayError as error:
                yield shard, attempt, self._lost(actor, error)

    def _started(self, ref: ray.ObjectRef) -> None:
        actor = self.starting.pop(ref)
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            self.failed_starts += 1
            if self.failed_starts >= ATTEMPTS and not self.load:
                raise ShardFailedError(f"workers die while they start: {_first_line(error)}") from None
            self._start()
        else:
            self.failed_starts = 0
            self.load[actor] = 0
            if not self.was_ready:
                self.was_ready = True
                self.ready()

    def _lost(self, actor: ray.actor.ActorHandle, error: RayError) -> RayError:
        """Replace the worker if it was the worker that died."""
        if isinstance(error, RayActorError) and actor in self.load:
            ray.kill(actor)
            del self.load[actor]
            self._start()
        return error

    def stop(self) -> None:
        """Let go of the workers."""
        for actor in [*self.load, *self.starting.values()]:
            ray.kill(actor)


def _connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a quiet one here."""
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            ray.init("local", include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = _first_line(error)
        raise ConfigurationError(
            f"runtime.executor ray: cannot reach the cluster at RAY_ADDRESS={address}: {reason}"
            if address
            else f"runtime.executor ray: cannot start a local cluster: {reason}; take --executor inline"
        ) from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
