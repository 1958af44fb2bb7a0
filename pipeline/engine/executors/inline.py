"""Execution of a plan in this process, with batches spread over threads.

An image that kills or hangs its process ends this run; the Ray executor, with the same command, finds the image,
leaves it out and goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from pipeline.engine.job import Committed, Job, advance
from pipeline.engine.machine import cores
from pipeline.engine.plan import Group, Outcome
from pipeline.store.manifest import Shard


def check() -> None:
    """Nothing can be missing: the threads are this process's own."""


def trial() -> AbstractContextManager[None]:
    """Nothing is left behind either."""
    return nullcontext()


def capacity() -> tuple[int, int]:
    """CPU cores and GPUs that this process may use."""
    import torch

    return cores(), torch.cuda.device_count()


def execute(
    groups: list[Group],
    shards: list[Shard],
    job: Job,
    workers: int,
    ready: Callable[[], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Committed]:
    """Process shards and commit them in order.

    Decoding, the network and the boxes release the GIL, so threads that each take a batch from bytes to boxes
    keep all cores busy without copying pixels between processes.

    Args:
        groups: The plan.
        shards: The shards still to do.
        job: The shared settings.
        workers: Number of threads.
        ready: Called once the stages are set up.
        stop: Called before each shard; once it returns True, no shard is begun.

    Yields:
        A report after each commit.
    """
    stages = [stage for group in groups for stage in group.stages]
    for group in groups:
        group.setup()
    ready()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="wsl-pipeline")
    # Two shards at once: the next shard's batches fill the cores while the last batches of one finish.
    running: deque[tuple[Shard, list[Future[Outcome]]]] = deque()
    try:
        for shard in shards:
            if stop():
                break
            running.append((shard, [pool.submit(advance, stages, batch) for batch in job.load(shard, {})]))
            if len(running) == 2:
                yield _finish(running.popleft(), job)
        while running:
            yield _finish(running.popleft(), job)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _finish(entry: tuple[Shard, list[Future[Outcome]]], job: Job) -> Committed:
    shard, batches = entry
    return job.commit(shard, [batch.result() for batch in batches])
