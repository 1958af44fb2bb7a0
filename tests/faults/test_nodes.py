"""Nodes that die and nodes that join while a run goes on."""

from __future__ import annotations

import os
import time

import pytest

from pipeline.engine.executors import ray as executor
from pipeline.store.manifest import cut_into_shards
from tests.faults.toys import begin, job, toy_plan, undisturbed
from tests.repetitions import EVERY
from tests.runs import files

pytestmark = pytest.mark.slow

IMAGES, SIZE = 400, 8
ROUNDS = 5 if EVERY else 2


@pytest.fixture
def cluster():
    import ray
    from ray.cluster_utils import Cluster

    # The head, where the driver is, works on nothing: everything is lost with the node that had it.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.parametrize("gpus", [0.5], ids=["three groups"])
def test_nodes_die_and_others_join(cluster, tmp_path, capfd, gpus):
    size = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100 * 2**20}
    nodes = [cluster.add_node(**size), cluster.add_node(**size)]
    run = begin(tmp_path / "run", IMAGES)
    shards, seen, workers = cut_into_shards(IMAGES, SIZE), [], set()
    every = len(shards) // (ROUNDS + 1)
    for report in executor.execute(toy_plan(gpus), shards, job(run), None, lambda: None):
        seen.append(report.shard)
        workers |= set(report.memory)
        if len(seen) % every == 0 and len(seen) // every <= ROUNDS:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(**size))
    assert sorted(seen) == [shard.index for shard in shards]
    assert len(workers) > 2 * ROUNDS  # those that joined had their part
    run.clean()  # as before a run is finalized: a node may die in the middle of a file
    assert files(run.path) == files(undisturbed(tmp_path / "calm", IMAGES, SIZE).path)


class Gather:
    """Holds every batch behind the first two images until that many processes hold one."""

    def __init__(self, folder, processes):
        self.folder, self.processes = folder, processes
        folder.mkdir()

    def __call__(self, batch):
        if batch["image_id"][0] >= 2:
            (self.folder / str(os.getpid())).touch()
            while len(list(self.folder.iterdir())) < self.processes:
                time.sleep(0.05)


def test_a_run_that_finds_no_node_waits_for_one_and_grows_with_the_cluster(cluster, tmp_path):
    run = begin(tmp_path / "run", 80)
    groups = toy_plan(around={0: Gather(tmp_path / "processes", 3)})
    executing = executor.execute(groups, cut_into_shards(80, 2), job(run), None, lambda: None)
    cluster.add_node(num_cpus=1)
    workers = set(next(executing).memory)
    cluster.add_node(num_cpus=2)  # Without its two workers the first one would wait for ever.
    for report in executing:
        workers |= set(report.memory)
    assert len(workers) == 3
