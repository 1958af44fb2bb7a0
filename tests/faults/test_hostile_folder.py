"""A current folder full of names that belong to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.engine.executors.examine import examine
from pipeline.store.manifest import Shard
from tests.faults.toys import Deadly, begin, job, toy_plan
from tests.runs import files, values, wsl

pytestmark = pytest.mark.slow

NAMES = (
    *("pipeline", "stages/__init__", "stages/errors", "json", "queue", "random", "typing", "logging"),
    *("pickle", "types", "numpy", "pandas", "torch/__init__", "torchvision", "ray", "pyarrow", "numba", "PIL", "cv2"),
    *(
        "yaml",
        "rich",
        "psutil",
        "colorama",
        "google/__init__",
        "triton",
        "secrets",
        "multiprocessing",
        "concurrent/__init__",
    ),
)
FACTORY = """
import helper
from stages.classify.network import Network
from tests.stages.toys import tiny_network
assert helper.__file__.startswith({folder!r})
def make() -> Network:
    return tiny_network()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Whatever is imported from it leaves a note and fails, but for ``net``, ``secrets`` and ``helper``."""
    found = tmp_path / "current"
    for name in NAMES:
        file = found / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"open({str(found / 'imported')!r}, 'a').write({name!r} + ' ')\nraise RuntimeError({name!r})\n")
    (found / "helper.py").touch()
    for name in ("net", "secrets"):
        (found / f"{name}.py").write_text(FACTORY.format(folder=str(found)))
    return found


@pytest.fixture(scope="module")
def expected(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The run's files from a folder without such names."""
    out = tmp_path_factory.mktemp("expected") / "run"
    assert wsl("run", tiny_data / "tiny.yaml", "-q", "--out", out).returncode == 0
    return predictions(out)


def predictions(out: Path) -> dict[str, bytes]:
    """What does not name the network's source."""
    return {
        name: values(data) for name, data in files(out).items() if name.endswith(".parquet") or name == "metrics.json"
    }


@pytest.mark.parametrize("spec", ["tests.stages.toys:tiny_network", "secrets:make"])
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_run(folder, expected, tiny_data, tmp_path, executor, spec):
    """With a network from elsewhere, and with one in a file of the folder that is called as the standard library's."""
    out = tmp_path / "run"
    arguments = "model.spec=python:" + spec, "runtime.workers=1", "runtime.device=cpu", "--executor", executor
    done = wsl("run", tiny_data / "tiny.yaml", *arguments, "-q", "--out", out, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
    assert predictions(out) == expected


def test_workers_that_stand_elsewhere(cluster, folder, expected, tiny_data, tmp_path, monkeypatch):
    import ray

    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    out = tmp_path / "run"
    arguments = "model.spec=python:net:make", "runtime.workers=1", "runtime.device=cpu", "--executor", "ray"
    done = wsl("run", tiny_data / "tiny.yaml", *arguments, "-q", "--out", out, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
    assert predictions(out) == expected


def test_the_process_that_examines_images(folder, tmp_path, monkeypatch):
    directory = begin(tmp_path / "run", 10)
    monkeypatch.chdir(folder)
    found = examine(toy_plan(around={1: Deadly({4: "exit"})}), job(directory), Shard(0, 0, 10), known={})
    assert list(found) == [4] and found[4].code == "WorkerCrashed"
    assert not (folder / "imported").exists(), (folder / "imported").read_text()


def test_a_script_like_the_installed_command(folder, tiny_data, tmp_path):
    """As people start it: a script, whose folder Python puts on the path."""
    command = tmp_path / "bin" / "wsl-pipeline"
    command.parent.mkdir()
    command.write_text("from pipeline.shell.cli import main\nmain()\n")
    arguments = "run", tiny_data / "tiny.yaml", "model.spec=python:net:make", "-q", "--out", tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert (
        subprocess.run([sys.executable, command, *arguments], cwd=folder, env=environment, check=False).returncode == 0
    )
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
