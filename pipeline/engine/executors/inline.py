"""Execution of a plan in this process, with batches spread over threads.

An image that kills or hangs its process ends this run; the Ray executor, with the same command, finds the image,
leaves it out and goes on.

``runtime.timeout`` bounds the wait for a batch and for the storage of a shard, but not the loading of the network, nor
native code that keeps the interpreter's lock, nor a process that is stopped as a whole: a thread cannot end another,
nor look at a clock without that lock. The thread that hangs lives on until the process ends, which the command line
does at once; a Python program waits for it when it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from pipeline.engine.executors.ledger import ShardFailedError
from pipeline.engine.gpu import AT_ONCE
from pipeline.engine.job import Committed, Job, advance
from pipeline.engine.machine import cores
from pipeline.engine.plan import Group, Outcome
from pipeline.store.manifest import Shard

Result = TypeVar("Result")


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

    Raises:
        ShardFailedError: A batch, or the storage of a shard, is not done after the job's time limit.
    """
    for group in groups:
        group.setup()
    ready()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="wsl-pipeline")
    storage = ThreadPoolExecutor(1, thread_name_prefix="wsl-pipeline-storage")
    # Two shards at once: the next shard's batches fill the cores while the last batches of one finish.
    running: deque[tuple[Shard, list[tuple[str, Future[Outcome]]]]] = deque()
    hung = False
    of_gpu = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="wsl-pipeline-gpu")

    def begin(batch: Outcome) -> tuple[str, Future[Outcome]]:
        uris = batch.rows["uri"]
        return f"the batch from {uris[0]} to {uris[-1]}", pool.submit(through, batch)

    def through(batch: Outcome) -> Outcome:
        for group in groups:
            batch = of_gpu.submit(advance, group, batch).result() if group.resources.gpus else advance(group, batch)
        return batch

    def finish(shard: Shard, batches: list[tuple[str, Future[Outcome]]]) -> Committed:
        outcomes = [_within(job, batch, name) for name, batch in batches]
        return _within(job, storage.submit(job.commit, shard, outcomes), f"the storage of shard {shard.index}")

    try:
        for shard in shards:
            if stop():
                break
            rows = _within(job, storage.submit(job.load, shard, {}), f"the reading of shard {shard.index}")
            running.append((shard, [begin(batch) for batch in rows]))
            if len(running) == 2:
                yield finish(*running.popleft())
        while running:
            yield finish(*running.popleft())
    except ShardFailedError:
        hung = True
        raise
    finally:
        for threads in (pool, of_gpu):
            threads.shutdown(wait=False, cancel_futures=True)
        storage.shutdown(wait=not hung)  # Nothing is stored once the run directory is no longer locked.


def _within(job: Job, future: Future[Result], what: str) -> Result:
    """The result of the work that other work does not keep from running, within the job's time limit.

    Counted second by second, because this process may itself be stopped meanwhile, as by Ctrl-Z.
    """
    waited, step = 0.0, min(job.timeout, 1.0)
    while not wait([future], timeout=step).done:
        waited += step
        if waited >= job.timeout and not future.done():
            raise ShardFailedError(
                f"{what} is not done after runtime.timeout={job.timeout:g} s, as with a disk that does not answer or "
                "an image that hangs; committed shards are safe, and the ray executor goes on without such an image"
            )
    return future.result()
