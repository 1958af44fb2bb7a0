"""A tiny dataset with boxes, and the configuration of a run over it that takes a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Config, load_config

COUNT = 23
TINY_RUN = """
data: {format: coco, root: data}
model: {spec: "python:tests.stages.toys:tiny_network"}
explain: {methods: [cam, gradcam]}
runtime: {executor: inline, shard_size: 5, batch_size: 3, max_failures: 0.5}
"""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/`` (23 images, COCO boxes, one image that is no image) and ``tiny.yaml``."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "data" / "images").mkdir(parents=True)
    generator = np.random.default_rng(5)
    images, annotations = [], []
    for number in range(1, COUNT + 1):
        width, height = (int(side) for side in generator.integers(20, 90, 2))
        x0, y0 = int(generator.integers(0, width // 2)), int(generator.integers(0, height // 2))
        w, h = int(generator.integers(8, width - x0 + 1)), int(generator.integers(8, height - y0 + 1))
        pixels = generator.integers(0, 80, (height, width, 3), dtype=np.uint8)
        label = number % 7
        pixels[y0 : y0 + h, x0 : x0 + w, label % 3] += 150
        name = f"images/bild {number} é.png"
        Image.fromarray(pixels).save(folder / "data" / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append({"id": number, "image_id": number, "category_id": label + 1, "bbox": [x0, y0, w, h]})
    (folder / "data" / images[10]["file_name"]).write_bytes(b"no image at all")
    categories = [{"id": index + 1, "name": f"class {index}"} for index in range(7)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "data" / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "tiny.yaml").write_text(TINY_RUN, encoding="utf-8")
    return folder


@pytest.fixture
def tiny(tiny_data: Path) -> Callable[..., Config]:
    """The configuration of the tiny run, with overrides."""
    return lambda *overrides: load_config(str(tiny_data / "tiny.yaml"), list(overrides))[1]


def files(run: Path) -> dict[str, bytes]:
    """Every file of a run that must not depend on how it was carried out."""
    differing = {"run.json", "config.yaml"}  # times, and the runtime section
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in differing
    }
