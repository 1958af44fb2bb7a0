"""Runs over images that show several classes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.compare import compare
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from pipeline.config.load import load_config
from pipeline.exports.boxes import boxes_of
from pipeline.store.rundir import RunDir
from stages.boxes.iou import iou
from stages.errors import ConfigurationError
from tests.runs import BROKEN, COUNT, files

SECOND = (3, 9, 12)
"""Images that show a second object, of a class of its own."""
BOX = (2, 3, 7, 7)


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_data):
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(tiny_data / "data", folder / "data")
    path = folder / "data" / "annotations.json"
    content = json.loads(path.read_text())
    for number in SECOND:
        content["annotations"].append(
            {"id": 50 + number, "image_id": number, "category_id": (number + 3) % 7 + 1, "bbox": BOX}
        )
    # A tag without a box.
    content["annotations"].append({"id": 99, "image_id": 5, "category_id": 2})
    path.write_text(json.dumps(content))
    return folder / "data"


@pytest.fixture(scope="module")
def out(tmp_path_factory, tiny_data, data):
    folder = tmp_path_factory.mktemp("several") / "run"
    config = load_config(str(tiny_data / "tiny.yaml"), [f"data.root={data}", "explain.targets=[labels,top2]"])[1]
    return config, folder, run(config, folder)


def rows_of(folder):
    return pq.read_table(folder / "predictions").to_pylist()


def test_every_label_has_its_own_row_and_its_own_boxes(out):
    _, folder, metrics = out
    manifest = {row["image_id"]: row for row in pq.read_table(folder / "manifest.parquet").to_pylist()}
    own = [row for row in rows_of(folder) if row["method"] == "cam" and row["target_rank"] == 0]
    assert len(own) == COUNT - 1 + len(SECOND) + 1
    found = {image: [row["class_index"] for row in own if row["image_id"] == image] for image in manifest}
    for image, classes in found.items():
        expected = [image % 7] + ([(image + 3) % 7] if image in SECOND else []) + ([1] if image == 5 else [])
        assert manifest[image]["labels"] == expected
        assert classes == ([] if image == BROKEN else expected)
    for row in own:
        if row["image_id"] in SECOND:
            x, y, w, h = BOX
            truth = [x, y, x + w, y + h]
            if row["class_index"] == row["image_id"] % 7:
                truth = manifest[row["image_id"]]["boxes"][0]
            assert row["iou"] == pytest.approx(float(iou(np.array(row["box"]), np.array(truth, float), "continuous")))
        elif row["image_id"] == 5 and row["class_index"] == 1:
            assert row["iou"] is None
    scores = metrics["methods"]["cam"]
    right = sum(row["iou"] is not None and row["iou"] >= 0.5 for row in own)
    pairs = COUNT - 1 + len(SECOND)
    assert scores["gt_known_loc"]["0.5"]["n"] == pairs
    assert scores["gt_known_loc"]["0.5"]["value"] == pytest.approx(right / pairs, abs=1e-6)
    assert metrics["baselines"]["full_image"]["gt_known_loc"]["0.5"]["n"] == pairs
    assert scores["top1_loc"]["0.5"]["n"] == COUNT - 1


def test_scores_of_the_first_label_stay(out, data, tiny_data, tmp_path):
    _, folder, metrics = out
    config = load_config(str(tiny_data / "tiny.yaml"), [f"data.root={data}", "explain.targets=[label,top2]"])[1]
    single = run(config, tmp_path / "run")
    assert single["classification"] == metrics["classification"]
    assert single["methods"]["cam"]["top1_loc"] == metrics["methods"]["cam"]["top1_loc"]
    assert single["methods"]["cam"]["gt_known_loc"]["0.5"]["n"] == COUNT - 1
    first = [row for row in rows_of(folder) if row["target_rank"] or row["class_index"] == row["image_id"] % 7]
    assert first == rows_of(tmp_path / "run")


@pytest.mark.slow
def test_compared_and_localized_again_by_pairs(out, tmp_path):
    _, folder, metrics = out
    (pair,) = compare([folder])["pairs"]
    for side, method in (("a", "cam"), ("b", "gradcam")):
        scores = metrics["methods"][method]["gt_known_loc"]["0.5"]
        assert pair["metrics"]["gt_known_loc"]["0.5"][side] == pytest.approx(scores["value"], abs=1e-6)
        assert pair["metrics"]["gt_known_loc"]["0.5"]["n"] == scores["n"]
    assert relocalize(folder, [], tmp_path / "same") == metrics
    assert files(tmp_path / "same").keys() == files(folder).keys()


def test_an_export_has_a_box_of_every_label(out):
    _, folder, _ = out
    found = boxes_of(RunDir(folder), "cam")
    labels = {one.image.image_id: one.labels for one in found.images}
    names = [info.name for info in found.classes]
    for image in SECOND:
        assert {names[label.class_index] for label in labels[image]} == {
            f"class {image % 7}",
            f"class {(image + 3) % 7}",
        }
    assert len(labels[5]) == 2


@pytest.mark.slow
def test_the_size_of_a_batch_changes_no_byte(out, tmp_path):
    config, folder, _ = out
    other = config.model_copy(update={"runtime": config.runtime.model_copy(update={"batch_size": 5})})
    run(other, tmp_path / "again")
    assert files(tmp_path / "again") == files(folder)


def test_an_export_of_what_is_present_where_nothing_is_labelled(tiny_data, tmp_path):
    overrides = ["data.format=imagefolder", f"data.root={tiny_data / 'data' / 'images'}", "explain.targets=[present]"]
    found = {}
    for present in (0.0, 0.2, 1.0):
        chosen = [*overrides, f"explain.present={present}", "data.limit=4"]
        config = load_config(str(tiny_data / "tiny.yaml"), chosen)[1]
        run(config, tmp_path / str(present))
        rows = [row for row in rows_of(tmp_path / str(present)) if row["method"] == "cam"]
        assert [row["target_rank"] for row in rows if row["image_id"] == 1][:1] == [1]
        assert all(row["prob"] >= present or row["target_rank"] == 1 for row in rows)
        labels = [label for one in boxes_of(RunDir(tmp_path / str(present)), "cam").images for label in one.labels]
        assert sum(label.box is not None for label in labels) == sum(row["box_status"] == "ok" for row in rows)
        found[present] = len(rows)
    # One of the four is no image; the network has seven classes.
    assert found[0.0] == 3 * 7 and found[1.0] == 3 <= found[0.2] < 21


def test_contrast_takes_the_other_labels_off(out, data, tiny_data, tmp_path):
    _, folder, metrics = out
    choices = [f"data.root={data}", "explain.targets=[labels,top2]", "explain.contrast=0.5"]
    found = run(load_config(str(tiny_data / "tiny.yaml"), choices)[1], tmp_path / "run")
    assert found["classification"] == metrics["classification"]

    def maps(run_dir):
        rows = [row for row in rows_of(run_dir) if row["method"] == "cam"]
        return {
            (row["image_id"], row["target_rank"], row["class_index"]): np.array(row["map"]) * row["map_scale"]
            for row in rows
        }

    before, after = maps(folder), maps(tmp_path / "run")
    assert before.keys() == after.keys()
    for image, rank, label in before:
        rivals = [before[image, 0, other] for one, at, other in before if (one, at) == (image, 0) and other != label]
        expected = before[image, rank, label] - 0.5 * np.mean(rivals, axis=0) if rank == 0 and rivals else None
        expected = before[image, rank, label] if expected is None else expected
        np.testing.assert_allclose(after[image, rank, label], expected, atol=2e-3 * np.abs(expected).max() + 1e-6)
    # A prediction keeps its box, also where its class is a label, whose map is another one now.
    kept = [
        {name: row[name] for name in ("image_id", "method", "class_index", "box", "box_status", "iou", "quality")}
        for row in rows_of(folder)
        if row["target_rank"]
    ]
    assert kept == [{name: row[name] for name in kept[0]} for row in rows_of(tmp_path / "run") if row["target_rank"]]
    changed = [
        one["box"] != other["box"]
        for one, other in zip(rows_of(folder), rows_of(tmp_path / "run"), strict=True)
        if one["target_rank"] == 0 and one["image_id"] in SECOND
    ]
    assert any(changed)


def test_contrast_wants_labels(tiny_data):
    with pytest.raises(ConfigurationError, match="contrast is between the labels of an image: add labels to targets"):
        load_config(str(tiny_data / "tiny.yaml"), ["explain.contrast=0.5"])
