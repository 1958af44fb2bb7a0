"""A manifest of 100,000 shards and workers that do nothing: what the driver itself takes."""

from __future__ import annotations

import os
import resource
import time

import pytest

from pipeline.engine.executors.ledger import Ledger, drive
from pipeline.engine.job import Committed
from pipeline.engine.journal import journal
from pipeline.engine.progress import Session
from pipeline.store.info import RunInfo
from pipeline.store.manifest import cut_into_shards
from pipeline.store.rundir import RunDir

pytestmark = pytest.mark.slow

SHARDS, SIZE = 100_000, 1024


class Idle:
    """Workers that are done at once."""

    def __init__(self):
        self.held = []

    def dispatch(self, task):
        if len(self.held) == 128:
            return False
        self.held.append(task)
        return True

    def wait(self):
        task = self.held.pop(0)
        images = task.shard.stop - task.shard.start
        index = task.shard.index
        seconds = dict.fromkeys(("decode", "classify", "explain/cam", "commit"), 0.001)
        return [(task, Committed(index, images, 0, seconds, {f"host-{index % 64}:1": 900.0}))]


def kibibytes():
    """Resident now: a peak of an earlier test of this process would hide what grows here."""
    with open("/proc/self/statm", encoding="ascii") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize() // 1024


def test_bookkeeping_of_a_hundred_thousand_shards(tmp_path):
    for folder in ("predictions", "errors"):
        (tmp_path / folder).mkdir()
    run = RunDir(tmp_path)
    before, started = kibibytes(), time.process_time()
    shards = cut_into_shards(SHARDS * SIZE, SIZE)
    session = Session(run, RunInfo(images=SHARDS * SIZE, shard_size=SIZE, precision="fp32"), lambda progress: None)
    with journal(run) as session.journal:
        session.start()
        for report in drive(Ledger(shards), Idle()):
            session.add(report)
    session.save()
    elapsed = time.process_time() - started
    print(f"\n{elapsed:.1f} s for {SHARDS} shards, {(kibibytes() - before) / 1024:.0f} MiB")
    assert session.done == SHARDS * SIZE and run.info().computed_images == SHARDS * SIZE
    assert elapsed < 60
    assert kibibytes() - before < 200 * 1024

    # Taking it up again begins with a listing.
    for shard in shards[:-3]:
        os.close(os.open(tmp_path / f"predictions/part-{shard.index:06}.parquet", os.O_CREAT))
    started = time.process_time()
    committed = run.committed()
    assert [shard.index for shard in shards if shard.index not in committed] == [SHARDS - 3, SHARDS - 2, SHARDS - 1]
    assert time.process_time() - started < 10
