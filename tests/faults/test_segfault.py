"""The whole command over many images, one of which ends every process that runs the network on it."""

from __future__ import annotations

import ctypes
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from stages.classify.network import Network
from tests.repetitions import ALL
from tests.runs import wsl
from tests.stages.toys import tiny_network

pytestmark = pytest.mark.slow


class Fragile(torch.nn.Module):
    """A network that dereferences a null pointer where an image is one bright red."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.features, self.fc = module.features, module.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 7) logits, or the end."""
        red = (x[:, 0] > 2).flatten(1).all(1) & (x[:, 1] < -1).flatten(1).all(1)
        if red.any():
            ctypes.string_at(0)
        return self.fc(self.features(x).mean((2, 3)))


def fragile_network() -> Network:
    """For ``python:tests.faults.test_segfault:fragile_network``."""
    network = tiny_network()
    return Network(Fragile(network.module).eval(), network.classes, network.preprocess)


@pytest.mark.parametrize(
    ("count", "guilty", "methods"),
    [
        pytest.param(1000, 617, "methods: [cam]", id="run"),
        pytest.param(48, 30, "methods: [cam, foreground-cam]", id="fit", marks=ALL),
    ],
)
def test_exactly_that_image_is_in_errors(tmp_path, count, guilty, methods):
    root = tmp_path / "photos" / "class 3"
    root.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 200, (40, 40, 3), dtype=np.uint8)
        if number == guilty:
            pixels[:] = 255, 0, 0
        Image.fromarray(pixels).save(root / f"{number:04}.png")
    (tmp_path / "fragile.yaml").write_text(
        "data: {format: imagefolder, root: photos}\n"
        'model: {spec: "python:tests.faults.test_segfault:fragile_network"}\n'
        f"explain: {{targets: [top1], {methods}}}\n"
        "runtime: {executor: ray, shard_size: 100, workers: 2, max_failures: 0.1}\n"
    )
    result = wsl("run", tmp_path / "fragile.yaml", "--json", "-q", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["n_failed"] == 1
    (error,) = pq.read_table(tmp_path / "run" / "errors").to_pylist()
    assert (error["error_code"], error["stage"], error["attempts"]) == ("WorkerCrashed", "classify", 2)
    assert error["uri"].endswith(f"{guilty:04}.png") and "SIGSEGV" in error["message"]
    predictions = pq.read_table(tmp_path / "run" / "predictions", columns=["image_id"])["image_id"].to_pylist()
    predictions = list(dict.fromkeys(predictions))
    manifest = pq.read_table(tmp_path / "run" / "manifest.parquet", columns=["image_id"])["image_id"].to_pylist()
    assert len(predictions) == count - 1
    assert set(manifest) - set(predictions) == {error["image_id"]}
