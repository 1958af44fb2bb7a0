"""What a GPU can do to a run: equal bytes, lost processes, lost devices, too little memory."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.faults.processes import Run
from tests.runs import wsl

pytestmark = pytest.mark.gpu

TINY = "model.size=64", "runtime.shard_size=16", "runtime.batch_size=8", "explain.targets=[label]"


def parts(run) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted((run / "predictions").glob("*.parquet"))}


def test_two_runs_give_equal_bytes(run, photographs, quick):
    root = photographs(48 if quick else 160)
    methods = "model.spec=lite0", "explain.methods=[cam,layercam,gradcam++,smooth-gradcam++]", "runtime.shard_size=64"
    common = *methods, "runtime.deterministic=true"
    first = parts(run("first", root, *common, "--executor", "inline"))
    assert parts(run("again", root, *common, "--executor", "inline")) == first
    assert parts(run("ray", root, *common, "--executor", "ray")) == first


def test_an_actor_that_is_killed_costs_nothing(run, photographs, quick, device, tmp_path):
    root = photographs(64 if quick else 512)
    common = "model.spec=lite0", "--executor", "ray", f"runtime.shard_size={8 if quick else 32}"
    calm = parts(run("calm", root, *common, "runtime.deterministic=true"))
    out = tmp_path / "killed"
    options = f"data.root={root}", f"runtime.device={device}", *common, "runtime.deterministic=true"
    with tempfile.TemporaryDirectory(prefix="wsl-") as short:
        killed = Run(("run", "imagenet-val", *options, "-q", "--out", out), tmp_path / "log", Path(short))
        while not list((out / "predictions").glob("part-*.parquet")):
            assert killed.process.poll() is None
            time.sleep(0.02)
        worker = killed.target("worker", 0)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        try:
            assert killed.process.wait(300) == 0, (tmp_path / "log").read_text()
        finally:
            killed.end()
    assert parts(out) == calm


def test_a_device_that_is_lost_once_costs_a_process(run, photographs, tmp_path):
    root = photographs(64)
    common = "model.spec=python:tests.gpu.networks:lost_once", *TINY, "--executor", "ray"
    flag = tmp_path / "once"
    calm = parts(run("calm", root, *common, LOSE_ONCE=str(flag)))
    flag.touch()
    assert parts(run("lost", root, *common, LOSE_ONCE=str(flag))) == calm
    assert not flag.exists()


def test_an_image_that_loses_the_device_is_found(run, photographs, tmp_path):
    root = photographs(40)
    own = tmp_path / "data"
    own.mkdir()
    for one in sorted((root / "ILSVRC/Data/CLS-LOC/val").iterdir()):
        os.symlink(one.resolve(), own / one.name)
    Image.new("RGB", (80, 80), "white").save(own / "white.png")
    common = "data.format=imagefolder", "model.spec=python:tests.gpu.networks:lost_at_white", *TINY
    targets = "explain.targets=[top1]", "runtime.max_failures=0.5"
    out = run("run", own, *common, *targets, "--executor", "ray")
    errors = pq.read_table(out / "errors").to_pylist()
    assert [(one["uri"].rsplit("/", 1)[1], one["error_code"]) for one in errors] == [("white.png", "WorkerCrashed")]
    assert pq.read_table(out / "predictions").num_rows == 40


def test_inline_says_in_one_line_that_the_device_is_lost(photographs, device, tmp_path):
    flag = tmp_path / "once"
    common = "model.spec=python:tests.gpu.networks:lost_once", *TINY, "--executor", "inline"
    options = f"data.root={photographs(64)}", f"runtime.device={device}", *common
    flag.touch()
    out = tmp_path / "run"
    lost = wsl("run", "imagenet-val", *options, "-q", "--out", out, environment={"LOSE_ONCE": str(flag)})
    if device == "cpu":
        assert lost.returncode == -signal.SIGKILL
    else:
        print(lost.stderr)
        assert lost.returncode == 1
        assert "the GPU fails at every call" in lost.stderr and "Traceback" not in lost.stderr
    again = wsl("run", "imagenet-val", *options, "-q", "--out", out, environment={"LOSE_ONCE": str(flag)})
    assert again.returncode == 0, again.stderr


def test_a_batch_that_does_not_fit_is_halved(run, photographs, quick):
    root = photographs(16 if quick else 1024)
    network = "model.spec=python:tests.gpu.networks:resnet50", "explain.targets=[label]"
    common = *network, f"runtime.batch_size={8 if quick else 512}", "--executor", "inline", "runtime.workers=1"
    share = 3 * 2**30 / torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else 1.0
    enough = pq.read_table(run("enough", root, *common) / "predictions", columns=["image_id", "prob"])
    little = pq.read_table(run("little", root, *common, GPU_MEMORY=str(share)) / "predictions")
    assert little["image_id"].equals(enough["image_id"])
    for one, other in zip(little["prob"].to_pylist(), enough["prob"].to_pylist(), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
