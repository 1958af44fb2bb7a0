"""Workers killed at every point, images that kill or hang them: the bytes of a run that nothing disturbed."""

from __future__ import annotations

import os
import random
import time

import pyarrow.parquet as pq
import pytest

from pipeline.engine.executors import ray as executor
from pipeline.engine.executors.ledger import ShardFailedError
from pipeline.store.manifest import cut_into_shards
from tests.faults.toys import Deadly, DyingRun, Killer, begin, job, toy_plan, undisturbed
from tests.runs import commits, files

pytestmark = pytest.mark.slow

IMAGES, SIZE = 240, 8
KILLS = 10
GPU = 0.5


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return files(undisturbed(tmp_path_factory.mktemp("calm") / "run", IMAGES, SIZE).path)


def carry_out(groups, run, workers=2, images=IMAGES, size=SIZE, timeout=600.0):
    """All shards on Ray; what was committed may not be touched again."""
    shards, seen = cut_into_shards(images, size), {}
    for report in executor.execute(groups, shards, job(run, timeout), workers, lambda: None):
        assert report.shard not in seen
        seen[report.shard] = (run.path / f"predictions/part-{report.shard:06}.parquet").stat().st_mtime_ns
    assert sorted(seen) == [shard.index for shard in shards]
    assert sorted(commits(run.path).values()) == sorted(seen.values())


def moments(seed):
    """Numbers of commits, the first before any of them."""
    return [0, *sorted(random.Random(seed).sample(range(1, IMAGES // SIZE - 1), KILLS - 1))]


@pytest.mark.parametrize(
    ("gpus", "stage"),
    [(0, 1), (GPU, 1), (GPU, 0), (GPU, 2)],
    ids=["actor", "gpu actor", "load task", "commit task"],
)
def test_ten_kills_of_a_worker(cluster, calm, tmp_path, gpus, stage):
    run = begin(tmp_path / "run", IMAGES)
    killer = Killer(run.path, moments(stage), tmp_path / "kills")
    carry_out(toy_plan(gpus, {stage: killer}), run)
    assert killer.kills == KILLS
    assert files(run.path) == calm


@pytest.mark.parametrize("gpus", [0, GPU], ids=["actor", "commit task"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_ten_kills_around_the_rename(cluster, calm, tmp_path, gpus, when):
    run = DyingRun(begin(tmp_path / "run", IMAGES).path)
    run.when, run.killer = when, Killer(run.path, moments(7), tmp_path / "kills")
    carry_out(toy_plan(gpus), run)
    assert run.killer.kills == KILLS
    assert files(run.path) == calm


def errors(run):
    rows = [row for part in sorted((run.path / "errors").iterdir()) for row in pq.read_table(part).to_pylist()]
    return {row["image_id"]: (row["error_code"], row["stage"], row["attempts"]) for row in rows}


def without_errors(found):
    return {name: data for name, data in found.items() if not name.startswith("errors/")}


@pytest.mark.parametrize("gpus", [0, GPU], ids=["one group", "three groups"])
def test_a_segmentation_fault_among_a_thousand_images(cluster, tmp_path, gpus):
    run = begin(tmp_path / "run", 1000)
    carry_out(toy_plan(gpus, {0: Deadly({617: "segfault"})}), run, images=1000, size=100)
    unlucky = dict.fromkeys(range(5, 1000, 13), ("Unlucky", "load", 1))
    assert errors(run) == unlucky | {617: ("WorkerCrashed", "around", 2)}
    calm = undisturbed(tmp_path / "calm", 1000, 100).path
    # The part of that image's shard is the calm one without its row, in the same bytes for the others.
    found, expected = files(run.path), files(calm)
    part = "predictions/part-000006.parquet"
    rest = pq.read_table(calm / part).to_pylist()
    assert pq.read_table(run.path / part).to_pylist() == [row for row in rest if row["image_id"] != 617]
    for files_of in (found, expected):
        del files_of[part], files_of["errors/part-000006.parquet"]
    assert found == expected


def test_it_makes_no_difference_to_the_others_how_an_image_fails(cluster, tmp_path):
    parts = []
    for name, images in (("crash", {7: "segfault", 18: "exit"}), ("hang", {7: "hang", 18: "segfault"})):
        run = begin(tmp_path / name, 24)
        carry_out(toy_plan(0, {1: Deadly(images)}), run, images=24, size=12, timeout=1.0)
        assert set(errors(run)) == {5, 7, 18}
        parts.append(without_errors(files(run.path)))
    assert parts[0] == parts[1]


@pytest.mark.parametrize(("gpus", "stage"), [(0, 1), (GPU, 0)], ids=["actor", "load task"])
def test_an_image_that_hangs(cluster, tmp_path, gpus, stage):
    run = begin(tmp_path / "run", 40)
    carry_out(toy_plan(gpus, {stage: Deadly({22: "hang"})}), run, images=40, size=10, timeout=1.0)
    assert errors(run)[22] == ("TimedOut", "around", 2)
    assert set(errors(run)) == {5, 18, 22, 31}


def test_what_is_raised_is_not_tried_again(cluster, tmp_path):
    run = begin(tmp_path / "run", 40)
    with pytest.raises(ZeroDivisionError, match="image 22"):
        carry_out(toy_plan(0, {1: Deadly({22: "raise"})}), run, images=40, size=10)


class Dies:
    """A set-up that is the end."""

    def __call__(self):
        os._exit(1)


class Hangs:
    """A set-up without an end."""

    def __call__(self):
        time.sleep(10_000)


@pytest.mark.parametrize("setup", [Dies(), Hangs()], ids=["dies", "hangs"])
def test_workers_that_do_not_come_up_end_the_run_with_the_cause(cluster, tmp_path, setup):
    groups = toy_plan()
    groups[0].stages[1].setup = setup
    with pytest.raises(ShardFailedError, match="workers die while they start: "):
        carry_out(groups, begin(tmp_path / "run", 40), images=40, size=10, timeout=1.0)
