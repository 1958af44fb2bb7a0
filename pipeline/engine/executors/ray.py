"""Execution of a plan on Ray, in worker processes on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

from pipeline.engine.executors.cluster import check_cluster, connect, disconnect
from pipeline.engine.executors.ledger import Ledger, drive
from pipeline.engine.executors.pool import Pool
from pipeline.engine.job import Committed, Job
from pipeline.engine.plan import Group
from pipeline.store.manifest import Shard


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
    pool = Pool(groups, job, len(shards) if workers is None else min(workers, len(shards)), ready)
    try:
        yield from drive(Ledger(shards), pool, stop)
    finally:
        pool.stop()
