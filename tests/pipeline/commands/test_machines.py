"""The kind of machine that computed a part is known, and said where kinds are mixed or compared."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.commands.compare import compare
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from pipeline.store.rundir import FAILED, RunDir, part_name
from pipeline.store.seal import seal
from pipeline.store.tables import MACHINE
from stages.classify.network import Network
from tests.stages.toys import tiny_network

OTHER = "NVIDIA Z9, torch 9.9.9"


def network() -> Network:
    """A tiny network whose weights do not depend on the machine, as PyTorch's random numbers do."""
    found, numbers = tiny_network(), np.random.default_rng(3)
    for one in found.module.state_dict().values():
        one.copy_(torch.from_numpy(np.asarray(numbers.uniform(0.1, 1, one.shape))))
    return found


KEYS = (
    "data.limit=10",
    "explain.targets=[label]",
    "model.spec=python:tests.pipeline.commands.test_machines:network",
)


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("machines") / "run"
    run(tiny(*KEYS), out)
    return out


@pytest.fixture
def config(tiny):
    return tiny(*KEYS)


def kinds(out):
    paths = sorted((out / "predictions").glob("part-*.parquet"))
    return [pq.read_schema(path).metadata.get(MACHINE, b"").decode() for path in paths]


def computed_on(out, to, shard, kind):
    """A copy of a run, one part of which says that another kind of machine made it, or nothing."""
    directory = RunDir(shutil.copytree(out, to))
    path = to / "predictions" / part_name(shard)
    table, facts = pq.read_table(path), pq.read_metadata(path).metadata
    own = {key: value for key, value in table.schema.metadata.items() if key != MACHINE and key != FAILED.encode()}
    table = table.replace_schema_metadata(own | ({MACHINE: kind.encode()} if kind else {}))
    path.write_bytes(seal(table, directory._facts(shard) | {FAILED: facts[FAILED.encode()].decode()}))
    (to / "_SUCCESS").unlink()
    return to


def test_every_part_says_which_kind_of_machine_made_it(finished):
    kind = kinds(finished)[0]
    assert torch.backends.cpu.get_cpu_capability() in kind and kind.endswith(f", torch {torch.__version__}")
    assert kinds(finished) == [kind] * 2
    assert json.loads((finished / "run.json").read_text())["machines"] == {kind: 2}


def test_going_on_with_another_kind_is_said_once(finished, config, tmp_path, caplog):
    out = computed_on(finished, tmp_path / "run", 0, OTHER)
    (out / "predictions" / part_name(1)).unlink()
    with caplog.at_level(logging.WARNING, "wsl_pipeline"):
        run(config, out)
    own = kinds(finished)[0]
    said = [one.getMessage() for one in caplog.records if OTHER in one.getMessage()]
    assert len(said) == 1 and f"shard 1 were computed on {own}" in said[0] and "choose another --out" in said[0]
    assert json.loads((out / "run.json").read_text())["machines"] == {OTHER: 1, own: 1}


def test_the_same_kind_and_parts_that_do_not_say_it_are_gone_on_with_in_silence(finished, config, tmp_path, caplog):
    out = computed_on(finished, tmp_path / "run", 0, None)
    (out / "predictions" / part_name(1)).unlink()
    with caplog.at_level(logging.WARNING, "wsl_pipeline"):
        run(config, out)
    assert not [one for one in caplog.records if "machine" in one.getMessage()]
    assert kinds(out) == ["", kinds(finished)[0]]


def test_comparing_says_it(finished, config, tmp_path, caplog):
    out = computed_on(finished, tmp_path / "run", 1, OTHER)
    run(config, out)
    own = kinds(finished)[0]
    with caplog.at_level(logging.WARNING, "wsl_pipeline"):
        found = compare([finished, out])
        assert "machines" not in compare([finished])
    assert found["machines"] == {str(finished): {own: 2}, str(out): {OTHER: 1, own: 1}}
    said = [one.getMessage() for one in caplog.records if OTHER in one.getMessage()]
    assert len(said) == 1 and f"{finished} on {own}; {out} on {OTHER} and {own}" in said[0]


def test_boxes_from_stored_maps_keep_the_kind_that_made_the_maps(finished, config, tmp_path):
    out = computed_on(finished, tmp_path / "run", 1, OTHER)
    run(config, out)
    relocalize(out, [], tmp_path / "new")
    assert kinds(tmp_path / "new") == kinds(out) == [kinds(finished)[0], OTHER]
