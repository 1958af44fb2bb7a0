"""Runs in which every component has a box: the scores of the first stay, the others compete in COCO's."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import load
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from pipeline.exports.boxes import boxes_of
from pipeline.store.rundir import RunDir
from stages.quality.cues import cues_of
from stages.quality.model import shipped
from tests.runs import files


@pytest.fixture(scope="module")
def both(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("instances")
    found = [
        run(tiny("box.threshold=0.6", *own), folder / name)
        for name, own in (("one", []), ("all", ["box.instances=all"]))
    ]
    return folder, *found


def rows_of(folder, **wanted):
    rows = pq.read_table(folder / "predictions").to_pylist()
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_the_first_component_is_that_of_a_run_without(both):
    folder, one, every = both
    assert rows_of(folder / "all", component=0) == rows_of(folder / "one")
    assert len(rows_of(folder / "all")) > len(rows_of(folder / "one")), "the maps have several components"
    for method in one["methods"]:
        own, other = (found["methods"][method] for found in (one, every))
        assert {key: value for key, value in own.items() if key != "coco"} == {
            key: value for key, value in other.items() if key != "coco"
        }


def test_a_further_component_has_a_box_a_quality_and_no_map(both):
    folder, _, _ = both
    first = {}
    for row in rows_of(folder / "all"):
        key = row["image_id"], row["method"], row["target_rank"], row["class_index"]
        if row["component"] == 0:
            first[key] = row
            continue
        own = first[key]
        assert row["map"] == [] and row["map_h"] == 0 and row["prob"] == own["prob"]
        assert row["box"] != own["box"] and row["iou"] is not None
        assert 0 < row["quality"] <= own["quality"]


def test_quality_is_that_of_the_models_cues(both):
    folder, _, _ = both
    protocol = RunDir(folder / "one").recipe().protocol
    for row in rows_of(folder / "one")[:40]:
        if row["box_status"] != "ok":
            assert row["quality"] is None
            continue
        map = np.array(row["map"], np.float32).reshape(row["map_h"], row["map_w"]) * np.float32(row["map_scale"])
        expected = shipped().quality(cues_of(map, row["prob"], protocol)[None])[0]
        assert row["quality"] == pytest.approx(expected, rel=1e-5)


def test_components_compete_in_the_coco_results(both):
    folder, one, every = both
    results = json.loads((folder / "all" / "coco" / "predictions.json").read_text())
    own = [
        row for row in rows_of(folder / "all", method="cam") if row["target_rank"] >= 1 and row["quality"] is not None
    ]
    assert len(results) == len(own)
    assert sorted(one["score"] for one in results) == pytest.approx(
        sorted(row["prob"] * row["quality"] for row in own), abs=1e-6
    )
    assert every["methods"]["cam"]["coco"]["AR100"] >= one["methods"]["cam"]["coco"]["AR100"]


@pytest.mark.slow
def test_localized_again_loaded_and_exported(both, tmp_path):
    folder, one, every = both
    assert relocalize(folder / "all", [], tmp_path / "same") == every
    assert files(tmp_path / "same").keys() == files(folder / "all").keys()
    assert rows_of(tmp_path / "same") == rows_of(folder / "all")
    assert relocalize(folder / "all", ["box.instances=one"], tmp_path / "one") == one
    frame = load(folder / "all").boxes(method="cam", rank=0)
    assert frame["component"].max() > 0
    exported = [
        len([label for label in image.labels if label.box]) for image in boxes_of(RunDir(folder / "all"), "cam").images
    ]
    assert sum(exported) == len([row for row in rows_of(folder / "all", method="cam", target_rank=0) if row["quality"]])
