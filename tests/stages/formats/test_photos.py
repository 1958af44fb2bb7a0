from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.errors import DataError
from stages.formats import read_dataset
from stages.formats.photos import read as photos
from stages.ingest.uris import read_bytes


def test_the_records_describe_the_installed_files() -> None:
    dataset = read_dataset("photos", None)
    assert len(dataset.classes) == 1000
    names = {record.file_name: dataset.classes[record.label].name for record in dataset.records}
    assert names == {
        "chelsea.png": "tabby",
        "coffee.png": "espresso",
        "camera.png": "tripod",
        "astronaut.png": "space shuttle",
        "rocket.jpg": "missile",
        "motorcycle_left.png": "moped",
    }
    for record in dataset.records:
        with Image.open(io.BytesIO(read_bytes(record.uri))) as image:
            assert image.size == (record.width, record.height)
        ((x0, y0, x1, y1),) = record.boxes
        assert 0 <= x0 < x1 <= record.width and 0 <= y0 < y1 <= record.height
        assert record.box_labels.tolist() == [record.label]


def test_the_rocket_stands_out_of_the_sky_at_its_box() -> None:
    record = next(record for record in read_dataset("photos", None).records if record.file_name == "rocket.jpg")
    with Image.open(record.uri) as image:
        grey = np.asarray(image.convert("L"), np.float32)
    x0, y0, x1, _ = record.boxes[0].astype(int)
    rows = slice(y0 + 20, y0 + 45)  # the fairing, wider than what carries it
    inside = grey[rows, x0 + 2 : x1 - 2].mean()
    assert inside > grey[rows, x0 - 12 : x0 - 4].mean() + 10
    assert inside > grey[rows, x1 + 4 : x1 + 12].mean() + 10


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install scikit-image"):
        read_dataset("photos", None)


def test_a_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(photos, "_folder", lambda: tmp_path)
    with pytest.raises(DataError, match=r"chelsea\.png"):
        read_dataset("photos", None)
