"""Runs over images of 12 bits in 16-bit files, which are seen and drawn like their 8-bit originals."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import pipeline as wsl
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import preview, run
from pipeline.config.history import config_hash
from pipeline.config.load import load_config
from pipeline.config.sections import Config
from stages.errors import ConfigurationError
from tests.runs import BROKEN, values
from tests.stages.ingest.deep import png16

TINY = "python:tests.stages.toys:tiny_network"
SHALLOW = 3
"""The image that stays as it is, with 8 bits."""
LEVELS = {"16-bit colour PNG": [0.0, 4095.0]}


def config(folder: Path, *overrides: str) -> Config:
    return load_config(str(folder / "tiny.yaml"), list(overrides))[1]


def predictions(out: Path) -> dict[str, bytes]:
    return {path.name: values(path.read_bytes()) for path in (out / "predictions").iterdir()}


def info(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def deep(tmp_path_factory, tiny_data) -> Path:
    """The folder of the tiny run, its colours in 12 of 16 bits, and the finished runs ``was`` of 8 bits and ``is``."""
    folder = tmp_path_factory.mktemp("deep")
    shutil.copytree(tiny_data, folder, dirs_exist_ok=True)
    run(config(folder), folder / "was")
    for path in (folder / "data" / "images").iterdir():
        if f" {BROKEN} " not in path.name and f" {SHALLOW} " not in path.name:
            pixels = np.asarray(Image.open(path))
            path.write_bytes(png16(np.rint(pixels * (4095 / 255)).astype(np.uint16)))
    run(config(folder), folder / "is")
    return folder


def test_the_results_are_those_of_the_8_bit_originals(deep) -> None:
    assert predictions(deep / "is") == predictions(deep / "was")
    assert info(deep / "was")["levels"] == {} and info(deep / "was")["notes"] == []
    assert info(deep / "is")["levels"] == LEVELS
    (note,) = info(deep / "is")["notes"]
    assert note.startswith("21 images of 16-bit colour PNG: values from ") and "4095 is shown as white" in note
    assert note.endswith("; data.depth sets another depth")
    assert note in preview(config(deep))["notes"]
    page = "report/index.html"
    assert (deep / "is" / page).read_text().count("data:image/") == (deep / "was" / page).read_text().count(
        "data:image/"
    )


def test_a_resumed_run_keeps_its_levels_and_looks_at_nothing(deep, monkeypatch) -> None:
    import pipeline.engine.prepare as module

    part = deep / "is" / "predictions" / "part-000002.parquet"
    before = part.read_bytes()
    part.unlink()
    (deep / "is" / "_SUCCESS").unlink()
    monkeypatch.setattr(module, "find_levels", lambda *arguments: pytest.fail("looked again"))
    run(config(deep), deep / "is")
    assert part.read_bytes() == before and info(deep / "is")["levels"] == LEVELS


@pytest.mark.slow
def test_shards_and_part_of_the_data_decide_alike(deep) -> None:
    run(config(deep, "runtime.shard_size=7", "data.limit=4"), deep / "few")
    assert info(deep / "few")["levels"] == LEVELS


@pytest.mark.slow
def test_a_relocalized_run_and_python_draw_the_same_picture(deep) -> None:
    relocalize(deep / "is", ["box.threshold=0.3"], deep / "again")
    assert info(deep / "again")["levels"] == LEVELS
    drawn = [np.asarray(wsl.load(deep / name).draw(5)) for name in ("is", "was")]
    assert np.array_equal(*drawn) and drawn[0].max() > 200


def test_a_given_depth_is_a_configuration_of_its_own(deep) -> None:
    given = config(deep, "data.depth=14")
    assert config_hash(config(deep, "data.depth=auto")) == config_hash(config(deep)) != config_hash(given)
    run(given, deep / "given")
    assert info(deep / "given")["levels"] == {"every": [0.0, 16383.0]} and info(deep / "given")["notes"] == []
    assert predictions(deep / "given") != predictions(deep / "is")
    assert preview(config(deep, "data.depth=10"))["notes"].startswith("data.depth: 21 of 21 images looked at")
    with pytest.raises(ConfigurationError, match=r"it differs in data\.depth"):
        run(given, deep / "is")


@pytest.mark.parametrize("value", ["0", "33", "deep", "8.5"])
def test_no_depth(deep, value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.depth"):
        config(deep, f"data.depth={value}")


def test_explain_decides_over_the_images_that_it_is_given(deep, caplog) -> None:
    uris = wsl.load(deep / "is").images().uri[:3].tolist()
    rows = pq.read_table(deep / "was" / "predictions").to_pandas()
    expected = rows[(rows.method == "cam") & (rows.target_rank == 1)].prob[:3]
    found = wsl.explain(uris, TINY, "cam")
    np.testing.assert_allclose(found.probs.max(axis=1), expected, rtol=1e-5)
    assert "2 images of 16-bit colour PNG" in caplog.text and "4095 is shown as white" in caplog.text
    grey = [np.full((64, 64), value, np.uint16) for value in (100, 4000)]
    dark, bright = (np.asarray(wsl.explain(list(map(Image.fromarray, grey)), TINY, "cam").draw(one)) for one in (0, 1))
    assert dark.mean() < 130 < bright.mean()


@pytest.mark.slow
def test_photographs_of_12_bits_are_classified_as_their_originals(tmp_path) -> None:
    """A real network, grey and colour: what it sees in the photographs of scikit-image, and where."""
    found = importlib.util.find_spec("skimage")
    assert found is not None and found.submodule_search_locations is not None
    photographs = Path(found.submodule_search_locations[0]) / "data"
    sets = {"was": tmp_path / "8" / "n02123045", "is": tmp_path / "12" / "n02123045"}
    for folder in sets.values():
        folder.mkdir(parents=True)
    for name in ("chelsea.png", "coffee.png", "camera.png", "motorcycle_left.png"):
        for mode in ("L", "RGB"):
            pixels = np.asarray(Image.open(photographs / name).convert(mode))
            Image.fromarray(pixels).save(sets["was"] / f"{mode} {name}")
            (sets["is"] / f"{mode} {name}").write_bytes(png16(np.rint(pixels * (4095 / 255)).astype(np.uint16)))
    for kind, folder in sets.items():
        settings = [f"data.root={folder.parent}", "model.spec=lite0", "runtime.executor=inline"]
        run(load_config("imagefolder", settings)[1], tmp_path / kind)
    assert predictions(tmp_path / "is") == predictions(tmp_path / "was")
    rows = pq.read_table(tmp_path / "is" / "predictions").to_pandas()
    first = rows[rows.target_rank == 1].class_name.tolist()
    assert first.count("tripod") == 2 and first.count("espresso") == 2 and first.count("Egyptian cat") == 2
