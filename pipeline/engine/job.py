"""Steps of every executor for a shard: read its rows, take them through stages, commit the results."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.engine.blame import check_reachable
from pipeline.engine.machine import peak_memory, process_name
from pipeline.engine.plan import Group, Outcome, process, total
from pipeline.store.directory import Directory
from pipeline.store.manifest import Shard, read_shard
from pipeline.store.rundir import RunDir
from pipeline.store.tables import FAITHFULNESS, MACHINE, error_table, prediction_table
from stages.batch import Batch, Failure, ImageError, concat, length, take
from stages.evaluate.faithfulness import counts as faithfulness
from stages.evaluate.metrics import counts as metrics

Culprits = Mapping[int, ImageError]
"""Images to leave out, by id, and why."""


@dataclass(frozen=True)
class Committed:
    """Summary of a committed shard for the driver.

    Attributes:
        shard: Index of the shard.
        images: Number of its images.
        failed: Number of its images that ended in ``errors``.
        seconds: Seconds per stage, summed over its batches.
        memory: Peak resident memory in MiB of each process that worked on it, by process name.
        machine: Kind of machine that ran the network; empty where none ran.
    """

    shard: int
    images: int
    failed: int
    seconds: dict[str, float]
    memory: dict[str, float]
    machine: str = ""


@dataclass(frozen=True)
class Job(ABC):
    """Settings that the workers of one run or training share, in addition to the stages.

    Attributes:
        run: The directory in which shards are committed.
        batch_size: Images per batch.
        timeout: Seconds that a batch may take in a worker process before the process counts as hung.
    """

    run: Directory[Any]
    batch_size: int
    timeout: float = float("inf")

    def batches(self, shard: Shard) -> list[Batch]:
        """The shard's rows of the manifest, cut into batches."""
        return self.cut(read_shard(self.run.manifest, shard))

    def cut(self, rows: Batch) -> list[Batch]:
        """Rows as batches."""
        return [take(rows, slice(at, at + self.batch_size)) for at in range(0, length(rows), self.batch_size)]

    def load(self, shard: Shard, culprits: Culprits) -> list[Outcome]:
        """The shard's batches before the first stage, with the culprits moved to their errors.

        A batch keeps its place and its other images, as if the culprits had failed in the first stage, so that the
        results of the others do not depend on how an image failed.
        """
        return [leave_out(batch, culprits) for batch in self.batches(shard)]

    @abstractmethod
    def store(self, shard: Shard, rows: Batch, errors: list[Failure], machine: str) -> int:
        """Store what the stages gave for a shard.

        Args:
            shard: The shard.
            rows: Its rows after the last stage.
            errors: Its images that failed, ordered by id.
            machine: Kind of machine that ran the network; empty where none ran.

        Returns:
            The number of images that count as failed.
        """

    def commit(self, shard: Shard, outcomes: list[Outcome]) -> Committed:
        """Store a shard whose batches went through all stages."""
        started = time.perf_counter()
        # Ordered by image, so that the order does not depend on which stage failed first.
        errors = sorted((error for outcome in outcomes for error in outcome.errors), key=lambda error: error[0])
        check_reachable(self.run, errors)
        rows = concat([outcome.rows for outcome in outcomes if length(outcome.rows)])
        machine = "; ".join(np.unique(rows["machine"])) if "machine" in rows else ""
        failed = self.store(shard, rows, errors, machine)
        spent = {"commit": time.perf_counter() - started}
        seconds = total([*(outcome.seconds for outcome in outcomes), spent])
        memory = {process_name(): peak_memory()}
        for outcome in outcomes:
            memory |= outcome.memory
        return Committed(shard.index, shard.stop - shard.start, failed, seconds, memory, machine)


@dataclass(frozen=True, kw_only=True)
class RunJob(Job):
    """A job whose parts are predictions.

    Attributes:
        run: The run in which shards are committed.
        class_names: Class names by network output.
        faithfulness: Names of the faithfulness metrics that the stages compute.
    """

    run: RunDir
    class_names: list[str]
    faithfulness: tuple[str, ...] = ()

    def errors(self, shard: Shard, errors: list[Failure]) -> pa.Table:
        """Table of the shard's images that ended without predictions."""
        return error_table(errors)

    def network_counts(self, shard: Shard, rows: Batch) -> dict[bytes, bytes]:
        """Metadata of the shard's file: counts of the metrics that run the network."""
        if not self.faithfulness:
            return {}
        return {FAITHFULNESS: faithfulness.to_json(faithfulness.update(rows, self.faithfulness)).encode()}

    def store(self, shard: Shard, rows: Batch, errors: list[Failure], machine: str) -> int:
        """Commit the shard's predictions and errors."""
        failed = self.errors(shard, errors)
        table = prediction_table(rows, self.class_names, metrics.update(rows).to_json())
        own = self.network_counts(shard, rows) | ({MACHINE: machine.encode()} if machine else {})
        self.run.commit(shard.index, table.replace_schema_metadata({**table.schema.metadata, **own}), failed)
        return int(failed.num_rows)


def leave_out(batch: Batch, culprits: Culprits) -> Outcome:
    """A batch with the culprits moved to its errors."""
    bad = np.array([int(image) in culprits for image in batch["image_id"]], dtype=bool)
    errors = [
        (int(image), str(uri), culprits[int(image)])
        for image, uri in zip(batch["image_id"][bad], batch["uri"][bad], strict=True)
    ]
    return Outcome(take(batch, ~bad) if bad.any() else batch, errors)


def advance(group: Group, before: Outcome) -> Outcome:
    """Take a batch through the stages of a further group."""
    after = process(group.stages, before.rows, group.limit)
    memory = before.memory | {process_name(): peak_memory()}
    return Outcome(after.rows, before.errors + after.errors, before.seconds | after.seconds, memory)
