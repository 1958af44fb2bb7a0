"""Runs over the same images fused from their stored maps, and maps made again by other rules."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from stages.errors import ConfigurationError
from stages.explain.several_scales import SIDE, Combination, fused
from tests.runs import files, wsl_here

METHODS = "explain.methods=[cam,foreground-cam]"
OTHER = "model.spec=python:tests.pipeline.engine.test_fit:other_network"


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Two networks at two scales, the second cut into other shards."""
    folder = tmp_path_factory.mktemp("two")
    run(tiny(METHODS, "explain.scales=[0.75,1.0]", "box.protocol=foreground2026"), folder / "a")
    run(
        tiny(METHODS, OTHER, "explain.scales=[1.0]", "box.protocol=foreground2026", "runtime.shard_size=4"),
        folder / "b",
    )
    return folder / "a", folder / "b"


def rows(folder, **wanted):
    """Rows by image, method, rank and class."""
    found = pq.read_table(folder / "predictions").to_pylist()
    names = "image_id", "method", "target_rank", "class_index"
    return {tuple(row[name] for name in names): row for row in found if wanted.items() <= row.items()}


def by_class(folder):
    """Rows by image, method and class."""
    return {(image, method, index): row for (image, method, _, index), row in rows(folder).items()}


def parts(row, name):
    """The maps of a column of several."""
    sides, at, maps = row[f"{name}_sides"], 0, []
    for height, width in zip(sides[::2], sides[1::2], strict=True):
        maps.append(np.array(row[name][at : at + height * width], np.float16).reshape(height, width))
        at += height * width
    return maps


def test_its_own_rules_give_a_run_again_to_the_byte(runs, tmp_path):
    relocalize(runs[0], [], tmp_path / "again")
    ours, theirs = files(tmp_path / "again"), files(runs[0])
    theirs.pop("fit/foreground.npz")
    assert ours == theirs


@pytest.mark.slow
def test_other_options_give_what_a_run_with_them_gives(runs, tiny, tmp_path):
    rules = ["explain.exponents=[0.5,0.5]", "explain.quantile=0.5", "box.percentile=0.2"]
    relocalize(runs[0], rules, tmp_path / "again")
    run(tiny(METHODS, "explain.scales=[0.75,1.0]", "box.protocol=foreground2026", *rules), tmp_path / "run")
    ours, theirs = rows(tmp_path / "again"), rows(tmp_path / "run")
    assert ours == theirs
    assert ours != rows(runs[0])


@pytest.mark.slow
def test_the_mean_of_the_scales_comes_back(runs, tiny, tmp_path):
    relocalize(runs[0], ["box.protocol=cam2016"], tmp_path / "again")
    run(tiny("explain.scales=[0.75,1.0]", "explain.methods=[cam]"), tmp_path / "run")
    ours, theirs = rows(tmp_path / "again", method="cam"), rows(tmp_path / "run", method="cam")
    assert set(ours) == set(theirs)
    for key, row in ours.items():
        assert (row["map_h"], row["map_w"]) == (theirs[key]["map_h"], theirs[key]["map_w"])
        np.testing.assert_allclose(row["map"], theirs[key]["map"], atol=3e-3)


@pytest.mark.slow
def test_two_runs_are_one(runs, tmp_path):
    metrics = relocalize(runs, [], tmp_path / "both")
    found, first, second = rows(tmp_path / "both"), by_class(runs[0]), by_class(runs[1])
    assert set(found) == set(rows(runs[0])) and set(first) & set(second) and set(first) - set(second)
    for (image, method, _, index), row in found.items():
        key = image, method, index
        stored = [one[key] for one in (first, second) if key in one]
        maps = [part for one in stored for part in parts(one, "map_by_scale")]
        grounds = [part for one in stored for part in parts(one, "map_foreground")]
        expected = fused(maps, 0.3) if key[1] == "cam" else Combination()(grounds, maps)
        made = np.array(row["map"], np.float32).reshape(SIDE, SIDE) * row["map_scale"]
        np.testing.assert_allclose(made, expected, atol=2e-3)
    info = json.loads((tmp_path / "both" / "run.json").read_text())
    assert len(info["fused_with"]) == 1 and metrics["n_failed"] == 1
    assert relocalize(runs, [], tmp_path / "both") == metrics
    with pytest.raises(ConfigurationError, match="holds no relocalization of"):
        relocalize(runs[0], [], tmp_path / "both")


@pytest.mark.slow
def test_a_run_fused_with_itself_is_itself(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "copy")
    relocalize([runs[0], tmp_path / "copy"], [], tmp_path / "twice")
    ours, theirs = rows(tmp_path / "twice"), rows(runs[0])
    for key, row in ours.items():
        np.testing.assert_allclose(row["map"], theirs[key]["map"], atol=1e-3)
        assert row["box"] == pytest.approx(theirs[key]["box"], abs=1e-3)


@pytest.mark.slow
def test_the_mean_of_runs_counts_networks_alike(runs, tmp_path):
    relocalize(runs, ["box.protocol=cam2016"], tmp_path / "mean")
    row = next(iter(rows(tmp_path / "mean", method="cam", target_rank=0).values()))
    assert (row["map_h"], row["map_w"]) == (8, 8) and len(row["map_by_scale_sides"]) == 6


@pytest.mark.slow
def test_others_are_refused(runs, tiny, tmp_path):
    run(tiny("data.limit=9"), tmp_path / "fewer")
    run(tiny(), tmp_path / "methods")
    run(tiny(METHODS, "explain.targets=[label]"), tmp_path / "targets")
    run(tiny(METHODS, "model.fit=center_crop"), tmp_path / "fit")
    for name, words in (
        ("fewer", "other images"),
        ("methods", "no maps of foreground-cam"),
        ("targets", "other targets"),
        ("fit", r"model\.fit"),
    ):
        with pytest.raises(ConfigurationError, match=f"cannot be fused with .*{words}"):
            relocalize([runs[0], tmp_path / name], [], tmp_path / "new")
    with pytest.raises(ConfigurationError, match="is named twice"):
        relocalize([runs[0], runs[0]], [], tmp_path / "new")
    relocalize(runs, [], tmp_path / "both")
    with pytest.raises(ConfigurationError, match="fuses several runs scale by scale"):
        relocalize(tmp_path / "both", ["box.protocol=cam2016"], tmp_path / "new")
    said = wsl_here("relocalize", runs[0], tmp_path / "fewer", "box.threshold=0.3", "--out", tmp_path / "new", "-q")
    assert said.returncode == 2 and "cannot be fused" in said.stderr and len(said.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()
