"""Whole runs in this process over a tiny dataset, a real network and real files."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline.commands.run import preview, run
from pipeline.engine.prepare import prepare
from pipeline.store import schema
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError
from tests.runs import BROKEN, COUNT, files


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_data):
    from pipeline.config.load import load_config

    out = tmp_path_factory.mktemp("runs") / "tiny"
    metrics = run(load_config(str(tiny_data / "tiny.yaml"), [])[1], out)
    return out, metrics


def table(out, kind):
    return pq.read_table(sorted((out / kind).glob("*.parquet")))


def test_every_image_ends_exactly_once(finished):
    out, metrics = finished
    predictions, errors = table(out, "predictions"), table(out, "errors")
    assert errors.select(["image_id", "stage", "error_code", "attempts"]).to_pylist() == [
        {"image_id": 11, "stage": "decode", "error_code": "NotAnImage", "attempts": 1}
    ]
    assert sorted({*predictions["image_id"].to_pylist(), 11}) == list(range(1, COUNT + 1))
    assert metrics["n_images"] == COUNT and metrics["n_failed"] == 1
    assert (out / "_SUCCESS").exists()


def test_files_have_the_schemas_of_the_contract(finished):
    out, _ = finished
    for kind, expected in (("predictions", schema.PREDICTIONS), ("errors", schema.ERRORS)):
        for part in (out / kind).glob("*.parquet"):
            assert pq.read_schema(part).remove_metadata() == expected.remove_metadata()
    assert pq.read_schema(out / "manifest.parquet") == schema.MANIFEST
    rows = table(out, "predictions").to_pylist()
    per_image = [(row["method"], row["target_rank"]) for row in rows if row["image_id"] == 1]
    assert per_image == [(method, rank) for method in ("cam", "gradcam") for rank in range(6)]
    for row in rows:
        assert len(row["map"]) == row["map_h"] * row["map_w"] == 64
        assert row["class_name"] == f"class {row['class_index']}"


def test_coco_files_load_in_pycocotools(finished, capsys):
    out, _ = finished
    truth = COCO(str(out / "coco" / "ground_truth.json"))
    found = truth.loadRes(str(out / "coco" / "predictions.json"))
    assert len(truth.getImgIds()) == COUNT and len(truth.getAnnIds()) == COUNT
    assert [category["id"] for category in truth.dataset["categories"]] == list(range(1, 8))
    entry = json.loads((out / "coco" / "predictions.json").read_text())[0]
    assert set(entry) == {"image_id", "category_id", "bbox", "score"}
    assert set(found.getImgIds()) <= set(truth.getImgIds())


def test_metrics_follow_from_the_stored_rows(finished):
    out, metrics = finished
    manifest = {row["image_id"]: row for row in pq.read_table(out / "manifest.parquet").to_pylist()}
    rows = [row for row in table(out, "predictions").to_pylist() if row["method"] == "cam"]
    known = [row["iou"] for row in rows if row["target_rank"] == 0]
    cam = metrics["methods"]["cam"]
    assert cam["gt_known_loc"]["0.5"]["n"] == len(known) == COUNT - 1
    assert cam["mean_iou"]["value"] == pytest.approx(np.mean(known), abs=1e-5)
    for delta in ("0.3", "0.5", "0.7"):
        expected = np.mean([iou >= float(delta) for iou in known])
        assert cam["gt_known_loc"][delta]["value"] == pytest.approx(expected, abs=1e-5)
        low, high = cam["gt_known_loc"][delta]["ci95"]
        assert low <= expected <= high
        assert cam["max_box_acc"][delta]["value"] >= expected - 1e-5
    right = [row["class_index"] == manifest[row["image_id"]]["label"] for row in rows if row["target_rank"] == 1]
    assert metrics["classification"]["top1"]["value"] == pytest.approx(np.mean(right), abs=1e-5)
    first = [row["iou"] >= 0.5 for row in rows if row["target_rank"] == 1]
    assert cam["top1_loc"]["0.5"]["value"] == pytest.approx(np.mean(np.array(first) & np.array(right)), abs=1e-5)
    assert set(metrics["baselines"]) == {"full_image", "center_gaussian", "random"}
    assert metrics["methods"]["gradcam"]["gt_known_loc"] == cam["gt_known_loc"]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [["runtime.workers=1"], ["runtime.workers=5"], ["runtime.batch_size=5"]])
def test_how_it_is_carried_out_changes_no_byte(finished, tiny, tmp_path, overrides):
    run(tiny(*overrides), tmp_path / "again")
    assert files(tmp_path / "again") == files(finished[0])


def test_resuming_computes_what_is_missing_and_nothing_else(finished, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    for lost in ("_SUCCESS", "metrics.json", "predictions/part-000001.parquet", "predictions/part-000004.parquet"):
        (copy / lost).unlink()
    kept = {path: path.stat().st_mtime_ns for path in (copy / "predictions").iterdir()}
    seen = []
    run(tiny(), copy, seen.append)
    assert files(copy) == files(finished[0])
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert seen[-1].computed == 8 and seen[-1].done == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_runs_and_is_another_run(finished, tiny, tmp_path, precision):
    metrics = run(tiny(f"runtime.precision={precision}"), tmp_path / "run")
    exact = table(finished[0], "predictions").to_pylist()
    for row, reference in zip(table(tmp_path / "run", "predictions").to_pylist(), exact, strict=True):
        assert row["prob"] == pytest.approx(reference["prob"], abs=0.02)
    assert metrics["methods"]["cam"]["mean_iou"]["n"] == COUNT - 1
    with pytest.raises(ConfigurationError, match=r"runtime\.precision has changed since"):
        run(tiny(), tmp_path / "run")


def test_changed_data_is_noticed(tiny, tiny_data, tmp_path):
    shutil.copytree(tiny_data / "data", tmp_path / "data")
    config = tiny(f"data.root={tmp_path / 'data'}", "data.limit=9")
    run(config, tmp_path / "run")
    document = json.loads((tmp_path / "data" / "annotations.json").read_text())
    document["annotations"][0]["bbox"] = [0, 0, 9, 9]
    (tmp_path / "data" / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=r"the images or annotations \(9 then\) have changed since"):
        run(config, tmp_path / "run")


def test_one_process_at_a_time(tiny, tmp_path):
    config = tiny("data.limit=3")
    with (
        RunDir.open(tmp_path / "run", config).locked(),
        pytest.raises(ConfigurationError, match="another process works on"),
    ):
        run(config, tmp_path / "run")
    assert run(config, tmp_path / "run")["n_images"] == 3


def test_times_of_several_calls_add_up(finished, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    before = json.loads((copy / "run.json").read_text())
    (copy / "_SUCCESS").unlink()
    (copy / "predictions" / "part-000001.parquet").unlink()
    run(tiny(), copy)
    after = json.loads((copy / "run.json").read_text())
    assert before["computed_images"] == COUNT and after["computed_images"] == COUNT + 5
    assert after["wall_seconds"] > before["wall_seconds"]
    assert after["seconds"]["explain/cam"] >= before["seconds"]["explain/cam"] > 0


def test_a_complete_run_is_not_touched(finished, tiny):
    out, metrics = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "config.yaml"}
    assert run(tiny(), out) == metrics
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "config.yaml"} == before


def test_a_run_whose_counts_have_another_form_is_finished_with_its_version(finished, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    info = json.loads((copy / "run.json").read_text())
    info["versions"]["wsl-pipeline"] = "0.0.1"
    (copy / "run.json").write_text(json.dumps(info))
    (copy / "_SUCCESS").unlink()
    assert run(tiny(), copy) == finished[1]  # Another version that counts alike may go on with it.
    del info["counts_form"]  # As up to 0.2.1.
    (copy / "run.json").write_text(json.dumps(info))
    assert run(tiny(), copy) == finished[1]  # It is complete.
    (copy / "_SUCCESS").unlink()
    with pytest.raises(ConfigurationError, match=r"was begun by wsl-pipeline 0\.0\.1, this is .*; finish it with"):
        run(tiny(), copy)


def test_other_weights_are_refused_on_resume(finished, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    (copy / "_SUCCESS").unlink()
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"weights_sha256": "0" * 64}))
    with pytest.raises(ConfigurationError, match="the weights have changed"):
        run(tiny(), copy)


@pytest.mark.parametrize("format", ["coco", pytest.param("imagefolder", marks=pytest.mark.slow)])
def test_failed_images_are_tried_again_where_that_is_asked_for(tiny, tiny_data, tmp_path, format):
    data = Path(shutil.copytree(tiny_data / "data", tmp_path / "data"))
    root = data if format == "coco" else data / "images"
    config = tiny(f"data.format={format}", f"data.root={root}", "data.limit=15")
    metrics = run(config, tmp_path / "run")
    assert metrics["n_failed"] == 1
    parts = {path: path.read_bytes() for path in (tmp_path / "run" / "predictions").iterdir()}
    (failed,) = (tmp_path / "run" / "errors").iterdir()
    seen = []
    assert run(config, tmp_path / "run", seen.append, retry_failed=True) == metrics
    assert seen[-1].computed == 5 and {path: path.read_bytes() for path in parts} == parts
    sizes = {one["id"]: one for one in json.loads((data / "annotations.json").read_text())["images"]}
    Image.new("RGB", (sizes[BROKEN]["width"], sizes[BROKEN]["height"]), "red").save(data / sizes[BROKEN]["file_name"])
    assert run(config, tmp_path / "run")["n_failed"] == 1, "complete: nothing is computed without being asked"
    assert run(config, tmp_path / "run", retry_failed=True)["n_failed"] == 0
    assert [path.name for path in parts if path.read_bytes() != parts[path]] == [failed.name]
    assert not failed.exists()


def test_a_retry_that_is_refused_leaves_the_run_complete(tiny, finished, tmp_path):
    copy = Path(shutil.copytree(finished[0], tmp_path / "copy"))
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"device": "cuda"}))
    for retry in (lambda: preview(tiny(), copy, retry_failed=True), lambda: run(tiny(), copy, retry_failed=True)):
        with pytest.raises(ConfigurationError, match="was begun on cuda, this would go on with cpu"):
            retry()
        assert (copy / "_SUCCESS").exists()
    assert run(tiny(), copy) == finished[1]


def test_without_boxes_or_labels_there_are_boxes_but_no_scores(tiny, tiny_data, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for image in sorted((tiny_data / "data" / "images").iterdir())[:6]:
        shutil.copy(image, flat)
    metrics = run(tiny("data.format=imagefolder", f"data.root={flat}"), tmp_path / "run")
    assert set(metrics["methods"]["cam"]) == {"box_status"}
    assert "classification" not in metrics and "baselines" not in metrics
    assert table(tmp_path / "run", "predictions")["iou"].null_count == 6 * 2 * 5 - 10 * metrics["n_failed"]
    assert (tmp_path / "run" / "_SUCCESS").exists()


def test_label_alone_needs_labels(tiny, tiny_data, tmp_path):
    overrides = "data.format=imagefolder", f"data.root={tiny_data / 'data' / 'images'}", "explain.targets=[label]"
    with pytest.raises(
        DataError, match=r"23 of 23 images have no label .* the dataset gives them none.*\[label,top1\]"
    ):
        run(tiny(*overrides), tmp_path / "run")


def test_a_preview_writes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = preview(tiny())
    assert found["images"] == COUNT and found["shards"] == 5 and found["layer"] == "features"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_dilated_run_has_larger_maps_of_the_same_predictions(tiny, tmp_path):
    plain, larger = tmp_path / "plain", tmp_path / "larger"
    run(tiny("explain.methods=[cam]"), plain)
    run(tiny("explain.methods=[cam]", "explain.dilate=true"), larger)
    one, other = (pq.read_table(next((out / "predictions").glob("part-*"))) for out in (plain, larger))
    for column in ("image_id", "target_rank", "class_index", "prob"):
        assert one[column].equals(other[column])
    assert set(one["map_h"].to_pylist()) == {8} and set(other["map_h"].to_pylist()) == {16}


def test_a_network_that_a_method_does_not_cover_is_found_before_the_first_image(tiny, tmp_path):
    with pytest.raises(ConfigurationError, match=r"fullgrad cannot explain this network"):
        run(tiny("explain.methods=[fullgrad]", "model.spec=python:tests.stages.toys:gated_network"), tmp_path / "run")
    assert not list((tmp_path / "run").glob("predictions/*"))


def test_a_run_goes_on_with_the_kind_of_device_that_it_began_with(finished, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    info = json.loads((copy / "run.json").read_text())
    assert info["device"] == "cpu"
    (copy / "run.json").write_text(json.dumps(info | {"device": "cuda"}))
    assert run(tiny(), copy) == finished[1]  # Nothing is computed.
    (copy / "predictions" / "part-000001.parquet").unlink()
    with pytest.raises(ConfigurationError, match=r"was begun on cuda.* with cpu; run it where there is a GPU, or choo"):
        run(tiny(), copy)


def test_a_blacklist_that_changes_in_the_middle_is_refused(tiny, tmp_path):
    (tmp_path / "list.txt").write_text("3\n")
    config = tiny("data.limit=5", f"evaluate.blacklist={tmp_path / 'list.txt'}")
    metrics = run(config, tmp_path / "run")
    (tmp_path / "list.txt").write_text("3\n4\n")
    with pytest.raises(ConfigurationError, match=r"evaluate\.blacklist: .*list\.txt has changed since .*run was begun"):
        run(config, tmp_path / "run")
    (tmp_path / "list.txt").write_text(" 3")
    assert run(config, tmp_path / "run") == metrics


def test_nothing_holds_the_records_while_images_are_computed(tiny, tmp_path, monkeypatch):
    records, left = [], []

    def remembered(*arguments):
        found, info = prepare(*arguments)
        records.extend(map(weakref.ref, found.records))
        return found, info

    monkeypatch.setattr("pipeline.commands.run.prepare", remembered)
    run(tiny("data.limit=5"), tmp_path / "run", lambda _: left.append(sum(one() is not None for one in records)))
    assert len(records) == 5 and set(left) == {0}
