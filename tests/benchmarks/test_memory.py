"""Peak memory of a run over 1,000 images and over 5,000."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.photographs import repeat_sample
from tests.runs import wsl

pytestmark = pytest.mark.slow


def test_memory_does_not_grow_with_the_number_of_images(imagenet_sample, tmp_path):
    peaks = []
    for count in (1000, 5000):
        root = repeat_sample(imagenet_sample, tmp_path, count)
        spec = "model.spec=python:tests.stages.toys:thousand_classes"
        out = tmp_path / f"run-{count}"
        options = "--executor", "inline", "runtime.shard_size=256", "-q", "--out", out
        assert wsl("run", "imagenet-val", f"data.root={root}", spec, *options).returncode == 0
        peaks.append(json.loads((out / "run.json").read_text())["peak_memory_mib"]["driver"])
    print(f"\npeak memory: {peaks[0]:.0f} MiB for 1000 images, {peaks[1]:.0f} MiB for 5000")
    assert peaks[1] < peaks[0] * 1.1
