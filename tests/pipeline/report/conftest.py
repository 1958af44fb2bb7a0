"""Finished runs whose pages are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.commands.run import run
from pipeline.config.load import load_config
from pipeline.store.rundir import RunDir
from tests.pipeline.report import hostile


@pytest.fixture(scope="session")
def scored(tmp_path_factory, tiny) -> RunDir:
    """22 of 23 images with boxes, two methods that give the same maps."""
    out = tmp_path_factory.mktemp("report") / "scored"
    run(tiny(), out)
    return RunDir(out)


def _folder_run(images: Path, out: Path) -> RunDir:
    spec = "model.spec=python:tests.pipeline.report.hostile:network"
    overrides = [f"data.root={images}", spec, "runtime.executor=inline", "model.fit=center_crop"]
    run(load_config("imagefolder", overrides)[1], out)
    return RunDir(out)


def _write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 60, 3), dtype=np.uint8)).save(path)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> RunDir:
    """Labels without boxes, hostile names everywhere, one broken image and one that is gone since."""
    folder = tmp_path_factory.mktemp("hostile")
    for index, name in enumerate(hostile.FOLDERS):
        _write(folder / "images" / name / hostile.FILE, index)
        _write(folder / "images" / name / "gone.png", index)
        (folder / "images" / name / hostile.BROKEN).write_bytes(b"no image")
    done = _folder_run(folder / "images", folder / "run")
    for image in (folder / "images").rglob("gone.png"):
        image.unlink()
    return done


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory) -> RunDir:
    """Fourteen images in one folder, without labels or boxes."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for index in range(14):
        _write(folder / "images" / f"{index}.png", index)
    return _folder_run(folder / "images", folder / "run")
