"""The Ray executor on a real local cluster: the same bytes as in this process, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from pipeline.executors import ray as executor
from pipeline.manifest import cut_into_shards
from pipeline.plan import plan
from pipeline.prepare import prepare
from pipeline.run import run
from pipeline.rundir import RunDir
from pipeline.shards import Job
from stages.classify.stage import Classify
from stages.components import Components
from stages.errors import ConfigurationError
from stages.evaluate.stage import Evaluate
from stages.explain.stage import Explain
from stages.ingest.decode import Decode
from stages.protocols import get_protocol
from stages.threshold import Threshold
from tests.runs import COUNT, commits, files, start, wsl

pytestmark = pytest.mark.slow

# A driver that dawdles after each commit, so that a signal finds it in the middle.
SLOW = """
import time
from pipeline import session as sessions
add = sessions.Session.add
sessions.Session.add = lambda session, report: (add(session, report), time.sleep(1))
"""


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def expected(tiny_data, tmp_path_factory):
    from pipeline.config import load_config

    out = tmp_path_factory.mktemp("inline")
    run(load_config(str(tiny_data / "tiny.yaml"), [])[1], out / "run")
    return files(out / "run")


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_bytes_of_inline(cluster, expected, tiny, tmp_path, workers):
    seen = []
    run(tiny("runtime.executor=ray", "runtime.device=cpu", f"runtime.workers={workers}"), tmp_path / "run", seen.append)
    assert files(tmp_path / "run") == expected
    assert seen[-1].done == COUNT and seen[-1].failed == 1


def gpu_stages(config, network, gpus):
    """The stages of the tiny run, the network's asking for a GPU that the cluster only believes in."""
    protocol, pixels = get_protocol("cam2016"), network.preprocess
    fill = tuple(round(255 * value) for value in pixels.mean)
    return [
        Decode(32, "squash", pixels.resample, pixels.crop_ratio, fill),
        Classify(config.model.spec, network.weights_sha256, "last", 32, "cpu", "fp32", gpus),
        Explain(config.explain.methods, config.explain.targets, gpus=gpus),
        Threshold(protocol, 32),
        Components(protocol, 32),
        Evaluate(protocol, 32, (0.3, 0.5, 0.7)),
    ]


def test_three_groups_give_the_same_parts(cluster, expected, tiny, tmp_path):
    config = tiny()
    directory = RunDir.open(tmp_path / "run", config)
    found, info = prepare(directory, config)
    groups = plan(gpu_stages(config, found.network, gpus=0.5))
    assert len(groups) == 3
    job = Job(directory, 3, [one.name for one in found.classes])
    reports = list(executor.execute(groups, cut_into_shards(COUNT, info["shard_size"]), job, 2, lambda: None))
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

    def __call__(self, batch):
        if not self.note.exists():
            self.note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.stage(batch)


@pytest.mark.parametrize(
    ("gpus", "stage"), [(0, 3), (0.5, 0), (0.5, 2), (0.5, 4)], ids=["actor", "loader", "gpu actor", "committer"]
)
def test_a_killed_worker_is_replaced_and_nothing_is_lost(cluster, expected, tiny, tmp_path, gpus, stage):
    config = tiny()
    directory = RunDir.open(tmp_path / "run", config)
    found, _ = prepare(directory, config)
    stages = gpu_stages(config, found.network, gpus)
    stages[stage] = KillsOnce(stages[stage], tmp_path / "killed")
    job = Job(directory, 3, [one.name for one in found.classes])
    reports = list(executor.execute(plan(stages), cut_into_shards(COUNT, 5), job, 2, lambda: None))
    assert (tmp_path / "killed").exists()
    assert sorted(report.shard for report in reports) == list(range(5))
    found_files = files(tmp_path / "run")
    assert {name: data for name, data in expected.items() if "part-" in name}.items() <= found_files.items()


def test_what_the_user_must_mend_comes_out_of_the_workers_as_itself(cluster, tiny, tmp_path):
    with pytest.raises(ConfigurationError, match="not \\(N, K, h, w\\); name a convolutional layer"):
        config = tiny("explain.layer=fc", "explain.methods=[gradcam]", "runtime.executor=ray", "runtime.device=cpu")
        run(config, tmp_path / "run")


@pytest.mark.parametrize("kind", ["ray", "inline"])
def test_ctrl_c_is_exit_130_and_the_same_command_resumes(expected, tiny_data, tmp_path, kind):
    command = (
        "run",
        tiny_data / "tiny.yaml",
        "runtime.executor=ray",
        "runtime.workers=1",
        "-q",
        "--out",
        tmp_path / "run",
    )
    process = start(*command, prelude=SLOW, stderr=subprocess.PIPE)
    while process.poll() is None and not commits(tmp_path / "run"):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read().splitlines()[-1] == "interrupted; run the same command to resume"
    done = commits(tmp_path / "run")
    assert done and len(done) < 5
    assert wsl(*command).returncode == 0
    assert files(tmp_path / "run") == expected
    assert done.items() <= commits(tmp_path / "run").items()
