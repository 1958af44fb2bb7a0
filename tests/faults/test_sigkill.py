"""Killed at any moment, started again: the bytes of a run that nothing disturbed."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.repetitions import EVERY
from tests.runs import commits, files, start, wsl

pytestmark = pytest.mark.slow

KILLS = 20 if EVERY else 8


@pytest.fixture(scope="module")
def command(tiny_data):
    return "run", tiny_data / "tiny.yaml", "runtime.shard_size=1", "-q", "--out"


@pytest.fixture(scope="module")
def calm(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("calm") / "run"
    assert wsl(*command, out).returncode == 0
    return files(out)


def test_kills_at_any_moment(command, calm, tmp_path):
    out = tmp_path / "run"
    shards = sum(name.startswith("predictions/") for name in calm)
    # Counted in commits, not in seconds: 0 is in the preparation, the last one while the run is finalized.
    moments = [0, *sorted(random.Random(0).sample(range(1, shards), KILLS - 2)), shards]
    for moment in moments:
        before = commits(out)
        process = start(*command, out)
        while process.poll() is None and len(commits(out)) < moment:
            time.sleep(0.001)
        if moment == 0:
            time.sleep(1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert before.items() <= commits(out).items()  # no finished shard is computed again
    assert wsl(*command, out).returncode == 0
    assert files(out) == calm


@pytest.mark.parametrize("name", ["run.json", "manifest.parquet", "coco/predictions.json", "metrics.json", "_SUCCESS"])
def test_a_kill_before_any_file_of_the_run_appears(command, calm, tmp_path, name):
    out = tmp_path / "run"
    dying = f"""
import os, signal
from pipeline.store import atomic as storage
replace = os.replace
def killed(source, target):
    if str(target).endswith({name!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
storage.os.replace = killed
"""
    assert wsl(*command, out, prelude=dying).returncode == -signal.SIGKILL
    assert not (out / name).exists()
    assert wsl(*command, out).returncode == 0
    assert files(out) == calm


def test_a_full_disk_is_said_and_what_is_committed_stays(command, calm, tmp_path):
    out = tmp_path / "run"
    filling = """
import os
from pipeline.store import atomic as storage
fsync, left = os.fsync, [12]
def full(file):
    left[0] -= 1
    if left[0] < 0:
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    fsync(file)
storage.os.fsync = full
"""
    full = wsl(*command, out, prelude=filling)
    assert full.returncode == 1 and "No space left on device" in full.stderr.splitlines()[-1]
    kept = commits(out)
    assert kept and not list(out.rglob("*-tmp"))
    assert wsl(*command, out).returncode == 0
    assert kept.items() <= commits(out).items()
    assert files(out) == calm
