"""What every executor does with a shard: read its rows, and commit what came of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.manifest import Shard, read_shard
from pipeline.parts import error_table, prediction_table
from pipeline.plan import Outcome, total
from pipeline.rundir import RunDir
from stages.batch import Batch, concat, length, take
from stages.evaluate import localization


@dataclass(frozen=True)
class Report:
    """What the driver learns of a committed shard.

    Attributes:
        shard: Its index.
        images: How many it held.
        failed: How many of them ended in ``errors``.
        seconds: Per stage, summed over its batches.
    """

    shard: int
    images: int
    failed: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Job:
    """What the workers of one run share, beside the stages.

    Attributes:
        run: Where shards are committed.
        batch_size: Images a batch.
        class_names: By network output.
    """

    run: RunDir
    batch_size: int
    class_names: list[str]

    def batches(self, shard: Shard) -> list[Batch]:
        """The shard's rows of the manifest, cut into batches."""
        rows = read_shard(self.run.manifest, shard)
        return [take(rows, slice(at, at + self.batch_size)) for at in range(0, length(rows), self.batch_size)]

    def commit(self, shard: Shard, outcomes: list[Outcome]) -> Report:
        """Store a shard whose batches went through all stages."""
        started = time.perf_counter()
        rows = concat([outcome.rows for outcome in outcomes if length(outcome.rows)])
        errors = [error for outcome in outcomes for error in outcome.errors]
        table = prediction_table(rows, self.class_names, localization.update(rows).to_json())
        self.run.commit(shard.index, table, error_table(errors))
        spent = {"commit": time.perf_counter() - started}
        seconds = total([*(outcome.seconds for outcome in outcomes), spent])
        return Report(shard.index, shard.stop - shard.start, len(errors), seconds)
