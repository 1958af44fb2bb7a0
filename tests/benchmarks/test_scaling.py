"""What a second worker brings, what a shard costs the driver, and whether memory grows with the images.

pytest -m benchmark -s tests/benchmarks/test_scaling.py
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pipeline.engine.machine import cores
from tests.benchmarks.photographs import repeat_sample
from tests.runs import wsl

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

# The driver's own processor time in the loop, imports and the network's loading left out.
METERED = """
import atexit, time
from pipeline.engine import progress as sessions
begun, shards, start, add = [], [], sessions.Session.start, sessions.Session.add
def started(session):
    begun.append(time.process_time())
    start(session)
def added(session, report):
    add(session, report)
    shards.append(report.shard)
    session.info.driver_seconds_per_shard = (time.process_time() - begun[0]) / len(shards)
sessions.Session.start, sessions.Session.add = started, added
"""


def carried_out(out, *arguments, prelude=""):
    """``run.json`` of a run on Ray."""
    result = wsl("run", *arguments, "--executor", "ray", "-q", "--out", out, prelude=prelude)
    assert result.returncode == 0, result.stderr
    return json.loads((out / "run.json").read_text())


@pytest.mark.skipif(cores() < 2, reason="one core")
def test_two_workers_over_one(imagenet_sample, tmp_path):
    root = repeat_sample(imagenet_sample, tmp_path, 1024)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn, workers in enumerate((1, 2, 2, 1)):  # The machine's other work changes.
        run = carried_out(
            tmp_path / f"run-{turn}",
            *("imagenet-val", f"data.root={root}", "model.spec=lite0", "runtime.shard_size=32"),
            f"runtime.workers={workers}",
        )
        rates[workers].append(run["images_per_second"])
    ratio = sum(rates[2]) / sum(rates[1])
    print(f"\none worker {rates[1]}, two workers {rates[2]} images/s: {ratio:.2f} times")
    assert ratio >= 1.8


@pytest.fixture(scope="module")
def tiny_photos(tmp_path_factory):
    """A configuration over a folder of 20,000 small images."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images" / "class 3").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(20_000):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / "class 3" / f"{number:05}.png", compress_level=0)
    (folder / "photos.yaml").write_text(
        "data: {format: imagefolder, root: images}\n"
        'model: {spec: "python:tests.stages.toys:tiny_network"}\n'
        "explain: {targets: [top1]}\n"
        "runtime: {workers: 2, shard_size: 100}\n"
    )
    return folder / "photos.yaml"


def test_memory_and_the_drivers_time_do_not_grow_with_the_images(tiny_photos, tmp_path):
    runs = {
        count: carried_out(tmp_path / str(count), tiny_photos, "--limit", count, prelude=METERED)
        for count in (2000, 20_000)
    }
    for count, run in runs.items():
        milliseconds = 1000 * run["driver_seconds_per_shard"]
        print(f"\n{count} images: driver {milliseconds:.1f} ms a shard, peak memory {run['peak_memory_mib']} MiB")
        assert milliseconds < 5
    for kind, peak in runs[2000]["peak_memory_mib"].items():
        assert runs[20_000]["peak_memory_mib"][kind] < 1.1 * peak
