"""Signs of life of worker processes, by which the driver notices those that stand still.

A worker ends itself when a step takes too long. One that is stopped, or that waits in the kernel for a disk that does
not answer, cannot, and keeps its connections, so that Ray takes it for alive. The driver therefore asks every model
worker how long its step has been under way; tasks announce their steps to the model worker that they serve.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.engine.executors.deadline import GRACE

EVERY = 1.0
"""Seconds between questions."""

Actor = ray.actor.ActorHandle[Any]
Step = tuple[int, int]
"""A task's number, and the position of its group in the plan."""


class Clock:
    """Seconds for which this process has been watching; while it is stopped itself, it cannot hear anybody."""

    def __init__(self) -> None:
        self.now = 0.0
        self._looked = time.monotonic()

    def tick(self) -> float:
        """The time now, to be asked for all the time."""
        before, self._looked = self._looked, time.monotonic()
        self.now += min(self._looked - before, 2 * EVERY)
        return self.now


@dataclass(frozen=True)
class Sign:
    """A task's way to announce its steps.

    Attributes:
        worker: The model worker that it serves.
        step: The task.
    """

    worker: Actor
    step: Step

    def __call__(self) -> None:
        """Announce that a step begins."""
        self.worker.beat.remote(self.step)


class Beats:
    """The signs of tasks, in the model worker that they serve."""

    def __init__(self) -> None:
        self._last: dict[Step, float] = {}

    def add(self, step: Step) -> None:
        """Note that a task has begun a step."""
        self._last[step] = time.monotonic()

    def since(self, oldest: int) -> dict[Step, float]:
        """Seconds since the last sign of each task; those with numbers below the oldest one are forgotten."""
        self._last = {step: when for step, when in self._last.items() if step[0] >= oldest}
        return {step: time.monotonic() - when for step, when in self._last.items()}


class Pulse:
    """What the driver last heard from a model worker.

    Args:
        worker: The worker, which may be starting.
        now: Time of the driver's clock.
        limit: Seconds that a step may take.
        patience: Seconds that it may take to answer for the first time.

    Attributes:
        begun: Whether it has ever answered.
        beats: When tasks that serve it last announced a step.
        heard: When it last answered.
    """

    def __init__(self, worker: Actor, now: float, limit: float, patience: float) -> None:
        self.worker, self.limit, self.patience = worker, limit, patience
        self.heard, self.begun = now, False
        self.beats: dict[Step, float] = {}
        self._due = now + patience
        self._asked: ray.ObjectRef[Any] | None = worker.pulse.remote(0)

    def listen(self, now: float, oldest: int) -> None:
        """Take the answer to the last question, if there is one, and ask again.

        Args:
            now: Time of the driver's clock.
            oldest: Number of the oldest task that is under way.
        """
        if self._asked is None or not ray.wait([self._asked], timeout=0)[0]:
            return
        try:
            spent, beats = ray.get(self._asked)
        except RayError:  # It is dead, and its tasks say so.
            self._asked, self._due = None, float("inf")
            return
        self.heard, self.begun = now, True
        self.beats = {step: now - ago for step, ago in beats.items()}
        self._due = now + max(self.limit - spent, 0) + GRACE
        self._asked = self.worker.pulse.remote(oldest)

    def silent(self, now: float) -> bool:
        """Whether it should have answered or ended by now."""
        return now > self._due

    def overdue(self, step: Step, since: float, patience: float) -> bool:
        """Whether a task should have begun its next step, or ended, when the worker last answered.

        Args:
            step: The task.
            since: When it could begin.
            patience: Seconds that its process may take to start.
        """
        if step in self.beats:
            return self.heard - self.beats[step] > self.limit + GRACE
        return self.heard - since > self.limit + patience + GRACE
