"""The model workers on a Ray cluster and the shards that they have."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from pipeline.engine.executors.deadline import GRACE, START
from pipeline.engine.executors.ledger import ATTEMPTS, Lost, Result, ShardFailedError, Task
from pipeline.engine.executors.patience import ClusterLostError, check_alive, living_nodes
from pipeline.engine.executors.pulse import EVERY, Actor, Clock, Pulse, Sign
from pipeline.engine.executors.worker import Worker, finish, load
from pipeline.engine.job import Job
from pipeline.engine.plan import Group
from stages.errors import first_line

log = logging.getLogger("wsl_pipeline")

IN_FLIGHT = 2
"""Number of shards that a worker has at once, so that the next one's pixels are ready when it finishes one."""
MOST_IN_FLIGHT = 16
"""Maximum number of shards that a worker has at once, where several cores decode for it."""
LOOK_EVERY = 5.0
"""Seconds between checks of the cluster, whose nodes come and go."""


@dataclass
class _Sent:
    """A task under way.

    Attributes:
        task: The task.
        worker: The model worker that has it.
        number: Its number among all that were sent.
        parts: What each group of the plan returns, the last of which is the task's result.
        at: Position of the group that has it now.
        since: Time since which that group could begin.
    """

    task: Task
    worker: Actor
    number: int
    parts: list[ray.ObjectRef[Any]]
    since: float
    at: int = 0

    def follow(self, now: float) -> None:
        """Note which group has it now."""
        done, _ = ray.wait(self.parts, num_returns=len(self.parts), timeout=0, fetch_local=False)
        at = next((at for at, part in enumerate(self.parts) if part not in done), len(self.parts))
        if at != self.at:
            self.at, self.since = at, now


class Pool:
    """The model workers and their shards. The driver handles recovery; Ray restarts nothing.

    Args:
        groups: The plan: one group, or three of which the middle one holds the network.
        job: The shared settings.
        most: Maximum number of model workers.
        ready: Called when the first of them is ready.
    """

    def __init__(self, groups: list[Group], job: Job, most: int, ready: Callable[[], None]) -> None:
        self.groups, self.job, self.most, self.ready = groups, job, most, ready
        self.was_ready = False
        self.model = groups[0] if len(groups) == 1 else groups[1]
        self.shared = [ray.put(group) for group in groups], ray.put(job)
        # Made once: Ray treats every remote function object as a new function and sends it to all workers.
        self.tasks = [ray.remote(one).options(num_cpus=1, max_retries=0) for one in (load, finish)]
        self.starting: dict[ray.ObjectRef[Any], Actor] = {}
        self.load: dict[Actor, int] = {}
        self.busy: dict[ray.ObjectRef[Any], _Sent] = {}
        self.pulses: dict[Actor, Pulse] = {}
        self.clock, self.felt = Clock(), 0.0
        self.patience, self.given_up = START, False
        self.sent = self.failed_starts = 0
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
        self.sent += 1
        parts = self._send(task, actor, self.sent)
        self.busy[parts[-1]] = _Sent(task, actor, self.sent, parts, self.clock.now)
        self.load[actor] += self._weight(task)
        return True

    def _send(self, task: Task, actor: Any, number: int) -> list[ray.ObjectRef[Any]]:
        refs, job = self.shared
        if task.examine:
            return [actor.examine.remote(task.shard, task.culprits, *refs)]
        if len(self.groups) == 1:
            return [actor.run.remote(task.shard, task.culprits)]
        before: Any
        after: Any
        before, after = self.tasks
        loaded: Any = before.remote(refs[0], job, task.shard, task.culprits, Sign(actor, (number, 0)))
        explained: Any = actor.run.remote(task.shard, loaded)
        return [loaded, explained, after.remote(refs[2], job, task.shard, explained, Sign(actor, (number, 2)))]

    def _weight(self, task: Task) -> int:
        return MOST_IN_FLIGHT if task.alone else 1

    def wait(self) -> Iterator[tuple[Task, Result]]:
        """Finished tasks with their reports or findings, or with why their workers died or were given up.

        Raises:
            ClusterLostError: The cluster has died or does not answer.
            Exception: A stage or a worker's set-up raised it; a retry would raise it again.
        """
        try:
            check_alive()
            self._hire()
        except ClusterLostError:
            self.pulses.clear()  # Nobody is there to release the workers.
            raise
        ready, _ = ray.wait([*self.busy, *self.starting], num_returns=1, timeout=1)
        for ref in ready:
            if ref in self.starting:
                self._started(ref)
                continue
            sent = self._take(ref)
            try:
                yield sent.task, ray.get(ref)
            except RayError as error:
                # A task that waited for a dead worker's result fails with that worker's error as its cause.
                cause = error.cause if isinstance(error, RayTaskError) else error
                # A plain RayError wraps errors that cannot be pickled.
                if not isinstance(cause, RayError) or type(cause) is RayError:
                    raise cause from None
                if isinstance(cause, RayActorError):
                    self._release(sent.worker)
                yield sent.task, _lost(sent.task, first_line(cause))
        if self.clock.tick() - self.felt >= EVERY:
            self.felt = self.clock.now
            yield from self._give_up_workers()
            yield from self._give_up_tasks()

    def _take(self, ref: ray.ObjectRef[Any]) -> _Sent:
        sent = self.busy.pop(ref)
        if sent.worker in self.load:
            self.load[sent.worker] -= self._weight(sent.task)
        return sent

    def _give_up_workers(self) -> Iterator[tuple[Task, Lost]]:
        """Release the model workers that stand still; their tasks are lost, and others start in their place.

        Raises:
            ShardFailedError: No others start.
        """
        oldest = min((sent.number for sent in self.busy.values()), default=self.sent)
        for actor, pulse in list(self.pulses.items()):
            pulse.listen(self.felt, oldest)
            if not pulse.silent(self.felt):
                continue
            self._release(actor)
            self.given_up |= pulse.begun
            for ref in [ref for ref, one in self.starting.items() if one == actor]:
                del self.starting[ref]
                if pulse.begun:
                    self._not_started(self._stood_still)
                else:
                    self._not_begun(pulse.patience)
            for ref in [ref for ref, sent in self.busy.items() if sent.worker == actor]:
                task = self._take(ref).task
                yield task, _lost(task, self._stood_still)

    def _give_up_tasks(self) -> Iterator[tuple[Task, Lost]]:
        """Cancel the tasks before and after the model workers that stand still, and those that nobody waits for."""
        for ref, sent in list(self.busy.items()) if len(self.groups) > 1 else []:
            sent.follow(self.felt)
            if sent.task.examine or sent.at not in (0, 2):
                continue
            pulse, step = self.pulses.get(sent.worker), (sent.number, sent.at)
            if pulse.overdue(step, sent.since, self.patience) if pulse else self._alone_too_long(sent):
                ray.cancel(sent.parts[sent.at], force=True)
                self._take(ref)
                begun = pulse is None or step in pulse.beats
                self.given_up |= begun
                cause = self._stood_still if pulse or sent.at else "its worker died"
                # Without given-up processes, it waited for room that others have: that is no attempt.
                yield sent.task, _lost(sent.task, cause, self.given_up)

    def _alone_too_long(self, sent: _Sent) -> bool:
        """Whether a task whose worker has gone is in vain, or stands still: its signs reach nobody."""
        return sent.at == 0 or self.felt - sent.since > self.job.timeout + self.patience + GRACE

    @property
    def _stood_still(self) -> str:
        return (
            f"its process stood still for runtime.timeout={self.job.timeout:g} s and {GRACE:g} s more, "
            "as one does that was stopped or that waits for a dead disk"
        )

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
        nodes = [node["Resources"] for node in living_nodes()]
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
        options: dict[str, Any] = {"num_cpus": self._cpus, "num_gpus": self.model.resources.gpus}
        options |= {"max_restarts": 0, "max_task_retries": 0}
        # Shards run in the order in which they are loaded, not in the order of dispatch.
        options |= {"allow_out_of_order_execution": True}
        options |= {"concurrency_groups": {"pulse": 1}}  # a thread that answers while another works
        groups, job = self.shared
        actor: Any = ray.remote(**options)(Worker)
        actor = actor.remote(groups[self.groups.index(self.model)], job, len(groups) == 1)
        self.starting[actor.setup.remote()] = actor
        self.pulses[actor] = Pulse(actor, self.clock.now, self.job.timeout, self.patience)

    def _started(self, ref: ray.ObjectRef[Any]) -> None:
        actor = self.starting.pop(ref)
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise (error.cause or error) from None
        except RayError as error:
            self._release(actor)
            # Errors of the process itself, such as a missing module, are at the end of Ray's message.
            self._not_started(f"{first_line(error)} {str(error).strip().splitlines()[-1]}")
        else:
            self.failed_starts, self.patience = 0, START
            self.load[actor] = 0
            if not self.was_ready:
                self.was_ready = True
                self.ready()

    def _not_started(self, cause: str) -> None:
        self.failed_starts += 1
        log.warning("a worker died while it started: %s", cause)
        if self.failed_starts >= ATTEMPTS and not self.load:
            raise ShardFailedError(f"workers die while they start: {cause}")

    def _not_begun(self, waited: float) -> None:
        """A worker was not there in time: it waits for room, which a node may bring, or its process was stopped."""
        self.patience = max(self.patience, 2 * waited)
        if self.given_up and not self.load and self.patience >= START * 2**ATTEMPTS:
            raise ShardFailedError(
                "no worker starts in place of those that stood still, whose processes may still take their room; end "
                "them, or wait until their disk answers, and run the same command again; committed shards are safe"
            )

    def _release(self, actor: Actor) -> None:
        """End a worker that may be dead."""
        if self.pulses.pop(actor, None):
            ray.kill(actor)
            self.load.pop(actor, None)

    def stop(self) -> None:
        """Release the workers."""
        for actor in list(self.pulses):
            self._release(actor)


def _lost(task: Task, cause: str, begun: bool = True) -> Lost:
    log.warning("shard %d lost its worker and is tried again: %s", task.shard.index, cause)
    return Lost(cause, begun)
