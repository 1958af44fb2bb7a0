"""The Ray executor on a real local cluster: the same bytes as in this process, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from pipeline.commands.run import run
from pipeline.config.recipe import resolve
from pipeline.engine.executors import ray as executor
from pipeline.engine.job import RunJob
from pipeline.engine.plan import plan
from pipeline.engine.prepare import prepare
from pipeline.engine.stages import scoring_stages
from pipeline.store.manifest import cut_into_shards
from pipeline.store.rundir import RunDir
from stages.classify.stage import Classify
from stages.errors import ConfigurationError
from stages.explain.stage import Explain
from stages.ingest.decode import Decode
from tests.repetitions import ALL
from tests.runs import COUNT, commits, files, start, wsl

pytestmark = pytest.mark.slow

# A driver that dawdles after each commit, so that a signal finds it in the middle.
SLOW = """
import time
from pipeline.engine import progress as sessions
add = sessions.Session.add
sessions.Session.add = lambda session, report: (add(session, report), time.sleep(1))
"""


@pytest.fixture(scope="module")
def expected(tiny_data, tmp_path_factory):
    from pipeline.config.load import load_config

    out = tmp_path_factory.mktemp("inline")
    run(load_config(str(tiny_data / "tiny.yaml"), [])[1], out / "run")
    return files(out / "run")


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_bytes_of_inline(cluster, expected, tiny, tmp_path, workers):
    seen = []
    run(tiny("runtime.executor=ray", "runtime.device=cpu", f"runtime.workers={workers}"), tmp_path / "run", seen.append)
    assert files(tmp_path / "run") == expected
    assert seen[-1].done == COUNT and seen[-1].failed == 1
    logs = [[json.loads(line) for line in file.read_text().splitlines()] for file in (tmp_path / "run/logs").iterdir()]
    shards = [line["shard"] for lines in logs for line in lines if line["event"] == "processed"]
    assert len(logs) == 1 + workers and sorted(shards) == list(range(5))
    assert all(line["process"] == lines[0]["process"] for lines in logs for line in lines)


def gpu_stages(recipe, gpus):
    """The stages of the tiny run, the network's asking for a GPU that the cluster only believes in."""
    config, pixels = recipe.config, recipe.network.preprocess
    fill = tuple(round(255 * value) for value in pixels.mean)
    return [
        Decode(32, "squash", pixels.resample, pixels.crop_ratio, fill),
        Classify(config.model.spec, recipe.network.weights_sha256, "last", 32, "cpu", "fp32", gpus),
        Explain(config.explain.methods, config.explain.targets, gpus=gpus),
        *scoring_stages(recipe),
    ]


def test_three_groups_give_the_same_parts(cluster, expected, tiny, tmp_path):
    config = tiny()
    directory = RunDir.open(tmp_path / "run", config)
    found, info = prepare(directory, resolve(config))
    groups = plan(gpu_stages(found.recipe, gpus=0.5))
    assert len(groups) == 3
    job = RunJob(run=directory, batch_size=3, class_names=found.recipe.class_names)
    reports = list(executor.execute(groups, cut_into_shards(COUNT, info.shard_size), job, 2, lambda: None))
    assert sorted(report.shard for report in reports) == list(range(5))
    found = files(tmp_path / "run")
    assert {name: data for name, data in expected.items() if "part-" in name}.items() <= found.items()


class KillsOnce:
    """Another stage that kills its process at the first batch it sees, leaving a note for its successor."""

    def __init__(self, stage, note):
        self.stage, self.note = stage, note
        self.reads, self.adds, self.resources = stage.reads, stage.adds, stage.resources

    def setup(self):
        self.stage.setup()

    def __call__(self, batch, **context):
        if not self.note.exists():
            self.note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.stage(batch, **context)


@pytest.mark.parametrize(
    ("gpus", "stage"), [(0, 3), (0.5, 0), (0.5, 2), (0.5, 4)], ids=["actor", "loader", "gpu actor", "committer"]
)
def test_a_killed_worker_is_replaced_and_nothing_is_lost(cluster, expected, tiny, tmp_path, gpus, stage):
    config = tiny()
    directory = RunDir.open(tmp_path / "run", config)
    found, _ = prepare(directory, resolve(config))
    stages = gpu_stages(found.recipe, gpus)
    stages[stage] = KillsOnce(stages[stage], tmp_path / "killed")
    job = RunJob(run=directory, batch_size=3, class_names=found.recipe.class_names)
    reports = list(executor.execute(plan(stages), cut_into_shards(COUNT, 5), job, 2, lambda: None))
    assert (tmp_path / "killed").exists()
    assert sorted(report.shard for report in reports) == list(range(5))
    found_files = files(tmp_path / "run")
    assert {name: data for name, data in expected.items() if "part-" in name}.items() <= found_files.items()


def test_what_the_user_must_mend_comes_out_of_the_workers_as_itself(cluster, tiny, tmp_path):
    with pytest.raises(ConfigurationError, match="not \\(N, K, h, w\\); name a convolutional layer"):
        config = tiny("explain.layer=fc", "explain.methods=[gradcam]", "runtime.executor=ray", "runtime.device=cpu")
        run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "signum"),
    [
        ("ray", signal.SIGINT),
        pytest.param("ray", signal.SIGTERM, marks=ALL),
        ("inline", signal.SIGINT),
        ("inline", signal.SIGHUP),
    ],
)
def test_a_signal_lets_the_shards_under_way_finish_and_the_same_command_resumes(
    expected, tiny_data, tmp_path, kind, signum
):
    command = (
        "run",
        tiny_data / "tiny.yaml",
        f"runtime.executor={kind}",
        "runtime.workers=1",
        "-q",
        "--out",
        tmp_path / "run",
    )
    process = start(*command, prelude=SLOW, stderr=subprocess.PIPE)
    while process.poll() is None and not commits(tmp_path / "run"):
        time.sleep(0.01)
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)  # as a terminal does
    else:
        os.kill(process.pid, signum)
    assert process.wait(60) == 128 + signum
    said = process.stderr.read().splitlines()
    assert said[-1] == "interrupted; run the same command to resume"
    assert any(line.startswith("stopping once the shards under way are committed") for line in said)
    assert not [line for line in said if "Traceback" in line or "SIGABRT" in line or "***" in line]
    done = commits(tmp_path / "run")
    assert 2 <= len(done) < 5  # the one that was seen, and what was under way
    assert wsl(*command).returncode == 0
    assert files(tmp_path / "run") == expected
    assert done.items() <= commits(tmp_path / "run").items()


def test_a_killed_driver_leaves_nothing_that_the_same_command_does_not_take_up(expected, tiny_data, tmp_path):
    out = tmp_path / "run"
    command = "run", tiny_data / "tiny.yaml", "runtime.executor=ray", "runtime.workers=1", "-q", "--out", out
    for moment in (1, 3):
        before = commits(out)
        process = start(*command, prelude=SLOW)
        while process.poll() is None and len(commits(out)) < moment:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(commits(out)) >= moment
        assert before.items() <= commits(out).items()  # no finished shard is computed again
    assert wsl(*command).returncode == 0
    assert files(out) == expected
