"""Images that kill or hang real processes are found from outside of them."""

from __future__ import annotations

import pytest

from pipeline.engine.executors import examine as module
from pipeline.engine.executors.examine import ExaminationError, examine
from pipeline.store.manifest import Shard
from tests.faults.toys import Deadly, begin, job, toy_plan

IMAGES = 40


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("toys") / "run", IMAGES)


@pytest.mark.slow
def test_every_kind_of_death_is_found_and_named(directory, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 1.0)
    deadly = {12: "segfault", 17: "exit", 21: "hang", 23: "stop"}
    groups = toy_plan(around={1: Deadly(deadly)})
    found = examine(groups, job(directory, timeout=1), Shard(0, 10, 25), known={})
    assert {image: (error.code, error.stage, error.attempts) for image, error in found.items()} == {
        12: ("WorkerCrashed", "around", 2),
        17: ("WorkerCrashed", "around", 2),
        21: ("TimedOut", "around", 2),
        23: ("TimedOut", "around", 2),
    }
    assert "SIGSEGV" in found[12].message and "exit code 0" in found[17].message
    assert "runtime.timeout=1 s" in found[21].message


@pytest.mark.slow
def test_what_is_known_is_not_tried_and_what_raises_is_no_matter_of_death(directory):
    groups = toy_plan(around={0: Deadly({3: "segfault", 6: "raise"})})
    assert examine(groups, job(directory), Shard(0, 0, 10), known={3: None}) == {}


class Broken:
    def __call__(self, batch):
        raise AssertionError

    def __getstate__(self):
        return {"x": 1}

    def __setstate__(self, state):
        raise ImportError("not on this machine")


@pytest.mark.slow
def test_a_process_that_cannot_set_up_the_stages_blames_no_image(directory):
    with pytest.raises(ExaminationError, match="cannot set up the stages"):
        examine(toy_plan(around={0: Broken()}), job(directory), Shard(0, 0, 10), known={})
