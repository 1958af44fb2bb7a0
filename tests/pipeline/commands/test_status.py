from __future__ import annotations

import json
import logging

import pytest

from pipeline.commands.run import run
from pipeline.commands.status import status
from pipeline.engine.journal import journal
from pipeline.store.rundir import RunDir
from tests.runs import COUNT


@pytest.fixture(scope="module")
def seen(tiny, tmp_path_factory):
    """A run's directory, and what its status said at the start and after each commit."""
    out = tmp_path_factory.mktemp("status") / "run"
    states = []
    run(tiny(), out, lambda progress: states.append(status(RunDir(out))))
    return out, states


def test_a_run_that_goes_on_says_so(seen):
    _, states = seen
    assert [state["done"] for state in states] == [0, 5, 10, 15, 20, COUNT]
    assert {state["state"] for state in states} == {"running"}
    assert states[-1]["failed"] == 1 and ":" in states[-1]["process"]


def test_a_complete_run_has_no_time_left(seen):
    out, _ = seen
    found = status(RunDir(out))
    assert found["state"] == "complete" and found["done"] == COUNT and "seconds_left" not in found


def test_a_run_that_nobody_works_on_has_stopped(seen, tmp_path):
    out, _ = seen
    dead = RunDir(tmp_path)
    for name in ("manifest.parquet", "run.json"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    assert status(dead)["state"] == "stopped"
    with dead.locked():
        found = status(dead)
    assert found["state"] == "running" and found["workers"] == 1
    assert found["seconds_left"] == pytest.approx(COUNT / found["images_per_second"], abs=1)


def test_run_json_has_seconds_and_peak_memory(seen):
    info = json.loads((seen[0] / "run.json").read_text())
    assert info["seconds"]["decode"] > 0
    assert 50 < info["peak_memory_mib"]["driver"] == pytest.approx(info["peak_memory_mib"]["workers"], rel=0.2)


def test_the_journal_has_a_line_for_every_commit(seen):
    (file,) = (seen[0] / "logs").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    commits = [line for line in lines if line["event"] == "commit"]
    assert [line["shard"] for line in commits] == list(range(5))
    assert sum(line["images"] for line in commits) == COUNT and sum(line["failed"] for line in commits) == 1
    assert all(line["seconds"]["decode"] > 0 and len(line["peak_memory_mib"]) == 1 for line in commits)


def test_what_people_are_told_stands_in_the_journal(tmp_path):
    with journal(RunDir(tmp_path)):
        logging.getLogger("wsl_pipeline").warning("shard %d lost its worker", 4)
    logging.getLogger("wsl_pipeline").warning("after it")
    (file,) = (tmp_path / "logs").iterdir()
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["event"], line["message"]) == ("warning", "shard 4 lost its worker")
