"""The executor's bookkeeping against workers that are dice: no Ray, no processes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.executors.examine import IN_A_ROW, TRIES, ExaminationError, search
from pipeline.engine.executors.ledger import ATTEMPTS, Ledger, Lost, ShardFailedError, Task, drive
from pipeline.engine.job import Committed
from pipeline.store.manifest import Shard, cut_into_shards
from stages.batch import ImageError

CRASH = ImageError("decode", "WorkerCrashed", "ended its process with SIGSEGV")


class Dice:
    """Workers that finish in any order, die of deadly images, and now and then of nothing."""

    def __init__(self, deadly=(), deaths=(), batch=3, workers=3, seed=0):
        self.deadly, self.deaths, self.batch, self.workers = set(deadly), list(deaths), batch, workers
        self.random = random.Random(seed)
        self.with_them: list[list[Task]] = [[] for _ in range(workers)]
        self.committed: dict[int, Task] = {}
        self.ran: list[Task] = []

    def dispatch(self, task):
        for held in self.with_them:
            if len(held) < (1 if task.alone else 2) and not any(one.alone for one in held):
                held.append(task)
                self.ran.append(task)
                return True
        return False

    def wait(self):
        held = self.random.choice([held for held in self.with_them if held])
        task = held[0]
        if (self.deaths and self.deaths.pop()) or (not task.examine and self.dies(self.rows(task), task)):
            lost, held[:] = list(held), []  # A worker takes all that it has with it.
            return [(one, Lost("the worker died")) for one in lost]
        held.remove(task)
        if task.examine:
            rows = self.rows(task)
            batches = [rows[at : at + self.batch] for at in range(0, len(rows), self.batch)]
            return [(task, search(batches, lambda rows: CRASH if self.dies(rows, task) else None))]
        assert task.shard.index not in self.committed
        self.committed[task.shard.index] = task
        return [(task, Committed(task.shard.index, len(self.rows(task)), len(task.culprits), {}, {}))]

    def rows(self, task):
        return list(range(task.shard.start, task.shard.stop))

    def dies(self, rows, task):
        return any(row in self.deadly and row not in task.culprits for row in rows)


def run(pool, shards):
    return list(drive(Ledger(shards), pool))


@given(
    images=st.integers(1, 60),
    size=st.integers(1, 20),
    data=st.data(),
    workers=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_every_image_ends_exactly_once_whatever_dies(images, size, data, workers, seed):
    deadly = data.draw(st.sets(st.integers(0, images - 1), max_size=5))
    # Two deaths by chance use up no budget, wherever they fall; popped from the end.
    deaths = data.draw(st.lists(st.booleans(), max_size=30).filter(lambda deaths: sum(deaths) < ATTEMPTS))
    shards = cut_into_shards(images, size)
    pool = Dice(deadly, deaths, workers=workers, seed=seed)
    reports = run(pool, shards)
    assert sorted(report.shard for report in reports) == [shard.index for shard in shards]
    failed = [image for task in pool.committed.values() for image in task.culprits]
    assert sorted(failed) == sorted(deadly)  # each in the errors of one shard; the others in its predictions
    assert all(error.code == "WorkerCrashed" for task in pool.committed.values() for error in task.culprits.values())


@given(deaths=st.lists(st.booleans(), max_size=300), workers=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_deaths_without_end_abort_and_never_commit_twice(deaths, workers, seed):
    pool = Dice({7}, deaths, workers=workers, seed=seed)
    try:
        reports = run(pool, cut_into_shards(40, 4))
    except ShardFailedError as error:
        assert "killed its worker 3 times" in str(error)
    else:
        assert sorted(report.shard for report in reports) == list(range(10))


def test_a_retried_shard_runs_alone_and_the_innocent_are_not_examined():
    pool = Dice({5}, workers=1)
    run(pool, cut_into_shards(12, 4))
    of = {index: [task for task in pool.ran if task.shard.index == index] for index in range(3)}
    assert [(task.attempt, task.examine, task.alone, len(task.culprits)) for task in of[1]] == [
        (1, False, False, 0),
        (2, False, True, 0),
        (3, False, True, 0),
        (1, True, True, 0),
        (1, False, True, 1),
    ]
    assert not any(task.examine for index in (0, 2) for task in of[index])


def test_a_shard_that_dies_of_no_image_ends_the_run_with_its_name():
    class Whole(Dice):
        """Dies of the whole shard, such as for want of memory, and of no image."""

        def dies(self, rows, task):
            return not task.examine and task.shard.index == 1

    pool = Whole(workers=1)
    with pytest.raises(ShardFailedError, match=r"shard 1 \(manifest rows 4 to 7\) .* no image of it does so alone"):
        run(pool, cut_into_shards(12, 4))
    assert len(pool.committed) == 2 and sum(task.examine for task in pool.ran) == 1


def test_an_examination_that_dies_ends_the_run_after_its_budget():
    shard = Shard(3, 30, 40)
    ledger = Ledger([shard])
    task = Task(shard, ATTEMPTS, examine=True)
    ledger.running = 1
    with pytest.raises(
        ShardFailedError, match=r"shard 3 .* examines its images died as well.*Last cause: out of memory"
    ):
        ledger.close(task, Lost("out of memory"))


@given(
    deadly=st.sets(st.integers(0, 99), max_size=IN_A_ROW - 1),
    batch=st.integers(1, 40),
    known=st.sets(st.integers(0, 99)),
)
def test_the_search_finds_the_deadly_rows_and_no_other(deadly, batch, known):
    tried = []

    def probe(rows):
        tried.extend(rows)
        return CRASH if deadly & set(rows) else None

    rows = [[row for row in range(at, min(at + batch, 100)) if row not in known] for at in range(0, 100, batch)]
    assert set(search(rows, probe)) == deadly - known
    assert not known & set(tried)


def test_the_search_is_cheap_and_is_not_deceived_by_one_death():
    tried = []

    def probe(rows):
        tried.append(rows)
        return CRASH if 37 in rows or (rows == [33] and tried.count([33]) == 1) else None

    found = search([list(range(at, at + 8)) for at in range(0, 64, 8)], probe)
    assert found == {37: ImageError(CRASH.stage, CRASH.code, CRASH.message, attempts=TRIES)}
    assert sum(37 in rows for rows in tried) == 1 + TRIES  # processes that had to die


def test_where_everything_dies_no_image_is_to_blame():
    tried = []
    with pytest.raises(ExaminationError, match=r"16 images in a row .* not to blame.*SIGSEGV \(in decode\)"):
        search([list(range(64))], lambda rows: tried.append(rows) or CRASH)
    assert len(tried) == 1 + IN_A_ROW * TRIES


def test_a_task_that_was_not_begun_is_no_attempt():
    ledger = Ledger(cut_into_shards(10, 10))
    for _ in range(3 * ATTEMPTS):
        task = ledger.waiting.popleft()
        ledger.running += 1
        assert task == Task(Shard(0, 0, 10))
        ledger.close(task, Lost("no room", begun=False))
    assert not ledger.finished
