"""Worker processes that stand still, as one does whose disk is dead: replaced, and the bytes of an undisturbed run."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress

import pyarrow.parquet as pq
import pytest

from pipeline.engine.executors import inline, pool, pulse
from pipeline.engine.executors import ray as executor
from pipeline.engine.executors.ledger import ShardFailedError
from pipeline.store.manifest import cut_into_shards
from pipeline.store.rundir import RunDir
from tests.faults.toys import Deadly, Killer, begin, job, toy_plan, undisturbed
from tests.repetitions import ALL
from tests.runs import commits, files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


IMAGES, SIZE = 96, 8
GPU = 0.5
TIMEOUT = 3.0


@pytest.fixture(autouse=True)
def grace(monkeypatch):
    """Less patience than real disks need. Workers have the real one: it is the driver that is tried."""
    monkeypatch.setattr(pulse, "GRACE", 2.0)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return files(undisturbed(tmp_path_factory.mktemp("calm") / "run", IMAGES, SIZE).path)


def carry_out(groups, run, watch=lambda report: None, timeout=TIMEOUT):
    """All shards on two workers, each reported once."""
    seen = []
    for report in executor.execute(groups, cut_into_shards(IMAGES, SIZE), job(run, timeout), 2, lambda: None):
        seen.append(report.shard)
        watch(report)
    assert sorted(seen) == list(range(IMAGES // SIZE))


def lost(caplog):
    return [line for line in caplog.messages if "lost its worker" in line]


@pytest.mark.parametrize(
    ("gpus", "stage", "moments"),
    [
        pytest.param(0, 1, [2, 2], id="both actors"),
        pytest.param(GPU, 1, [2], id="gpu actor", marks=ALL),
        pytest.param(GPU, 0, [2], id="load task"),
        pytest.param(GPU, 2, [2], id="commit task", marks=ALL),
    ],
)
def test_a_process_that_is_stopped_in_a_batch_is_replaced(cluster, calm, caplog, tmp_path, gpus, stage, moments):
    run = begin(tmp_path / "run", IMAGES)
    stopper = Killer(run.path, moments, tmp_path / "stops", signal.SIGSTOP)
    started = time.monotonic()
    carry_out(toy_plan(gpus, {stage: stopper}), run)
    assert stopper.kills == len(moments)
    assert time.monotonic() - started < 60
    assert files(run.path) == calm
    assert "stood still for runtime.timeout=3 s" in lost(caplog)[0]


class StopsOnce:
    """A set-up that stops its process once."""

    def __init__(self, note):
        self.note = note

    def __call__(self):
        with suppress(FileExistsError):
            self.note.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("gpus", [pytest.param(0, id="actor"), pytest.param(GPU, id="load task", marks=ALL)])
def test_a_process_that_is_stopped_while_it_loads_the_network(cluster, calm, tmp_path, gpus):
    run = begin(tmp_path / "run", IMAGES)
    groups = toy_plan(gpus)
    groups[0].stages[0].setup = StopsOnce(tmp_path / "stopped")
    carry_out(groups, run)
    assert (tmp_path / "stopped").exists()
    assert files(run.path) == calm


def test_a_worker_that_is_stopped_between_two_shards(cluster, calm, tmp_path):
    run, stopped = begin(tmp_path / "run", IMAGES), []

    def stop(report):
        if len(stopped) < 1:
            stopped.append(int(next(iter(report.memory)).partition(":")[2]))
            os.kill(stopped[0], signal.SIGSTOP)

    carry_out(toy_plan(), run, stop)
    assert stopped and files(run.path) == calm


@pytest.mark.parametrize("after", [pytest.param(1, id="in time", marks=ALL), pytest.param(9, id="given up")])
def test_a_worker_that_goes_on_again(cluster, calm, caplog, tmp_path, after):
    caplog.set_level(logging.WARNING, "wsl_pipeline")
    run = begin(tmp_path / "run", IMAGES)
    stopper = Killer(run.path, [2], tmp_path / "stops", signal.SIGSTOP)

    def go_on():
        while not stopper.kills:
            time.sleep(0.05)
        time.sleep(after)
        with suppress(ProcessLookupError):
            os.kill(int((tmp_path / "stops" / "0").read_text()), signal.SIGCONT)

    thread = threading.Thread(target=go_on)
    thread.start()
    # A second of the time limit is lost, not the shard; afterwards it is too late, and counts for nobody.
    carry_out(toy_plan(0, {1: stopper}), run)
    thread.join()
    assert files(run.path) == calm
    assert bool(lost(caplog)) == (after == 9)


class Names:
    """Notes the process that holds the network."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, batch):
        (self.folder / "worker").write_text(str(os.getpid()))


class OutlivesItsWorker(StopsOnce):
    """Ends the process that holds the network, and stops its own, once."""

    def __call__(self, batch):
        with suppress(FileExistsError):
            self.note.touch(exist_ok=False)
            os.kill(int((self.note.parent / "worker").read_text()), signal.SIGKILL)
            time.sleep(2)  # until that is known
            os.kill(os.getpid(), signal.SIGSTOP)


def test_a_commit_task_that_is_stopped_when_its_worker_has_gone(cluster, calm, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "START", 5.0)
    run = begin(tmp_path / "run", IMAGES)
    carry_out(toy_plan(GPU, {1: Names(tmp_path), 2: OutlivesItsWorker(tmp_path / "stopped")}), run)
    assert (tmp_path / "stopped").exists()
    assert files(run.path) == calm


@ALL
def test_an_image_that_stops_its_process_is_left_out(cluster, calm, tmp_path):
    run = begin(tmp_path / "run", IMAGES)
    carry_out(toy_plan(0, {0: Deadly({22: "stop"})}), run, timeout=1.0)
    (error,) = (row for row in pq.read_table(run.path / "errors").to_pylist() if row["image_id"] == 22)
    assert (error["error_code"], error["stage"], error["attempts"]) == ("TimedOut", "around", 2)
    found = files(run.path)
    assert [name for name in calm if found[name] != calm[name]] == [
        "errors/part-000002.parquet",
        "predictions/part-000002.parquet",
    ]


class Waits:
    """Holds the batch of an image, or the storage of a part, until it is let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, batch):
        if 22 in batch["image_id"]:
            self.go.wait(60)


class WaitingRun(RunDir):
    """A run directory on a disk that does not answer when the third part is written."""

    def write(self, name, data):
        if name.endswith("predictions/part-000002.parquet"):
            self.waits.go.wait(60)
        super().write(name, data)


@pytest.mark.parametrize(
    ("where", "what"),
    [("batch", "the batch from /none/21 to /none/23 is"), ("storage", "the storage of shard 2 is")],
)
def test_threads_that_hang_end_the_run_in_one_line_and_the_same_command_resumes(calm, tmp_path, where, what):
    waits, run = Waits(), begin(tmp_path / "run", IMAGES)
    if where == "storage":
        run = WaitingRun(run.path)
        run.waits = waits
    plan = toy_plan(0, {1: waits} if where == "batch" else {})
    shards, limited = cut_into_shards(IMAGES, SIZE), job(run, 1.0)
    with pytest.raises(ShardFailedError, match=f"{what} not done after runtime.timeout=1 s"):
        list(inline.execute(plan, shards, limited, 2, lambda: None))
    done = commits(run.path)
    assert len(done) == 2
    waits.go.set()
    while where == "storage" and len(commits(run.path)) < 3:
        time.sleep(0.05)
    todo = [shard for shard in shards if shard.index not in run.committed()]
    list(inline.execute(toy_plan(), todo, limited, 2, lambda: None))
    assert done.items() <= commits(run.path).items()
    assert files(run.path) == calm
