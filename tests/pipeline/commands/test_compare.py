"""Runs are compared image by image, or refused with what differs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.compare import compare
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from stages.errors import ConfigurationError, DataError
from tests.objectstore import BUCKET, serving, upload
from tests.runs import COUNT, wsl_here


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    run(tiny("explain.methods=[cam,layercam]"), folder / "a")
    run(tiny("explain.methods=[layercam]", "explain.scales=[1.0,0.5]"), folder / "b")
    return folder


def scores(run, method, rank):
    rows = pq.read_table(run / "predictions", columns=["image_id", "method", "target_rank", "class_index", "iou"])
    return {r["image_id"]: r for r in rows.to_pylist() if r["method"] == method and r["target_rank"] == rank}


def test_every_pair_of_methods_with_the_values_of_both_runs(runs):
    found = compare([runs / "a", runs / "b"])
    assert found["systems"] == ["a/cam", "a/layercam", "b/layercam"]
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [
        ("a/cam", "a/layercam"),
        ("a/cam", "b/layercam"),
        ("a/layercam", "b/layercam"),
    ]
    own = {name: json.loads((runs / name / "metrics.json").read_text()) for name in "ab"}
    for pair in found["pairs"]:
        assert pair["unpaired"] == 0
        for side in "ab":
            name, method = pair[side].split("/")
            reference = own[name]["methods"][method]
            for delta in ("0.3", "0.5", "0.7"):
                for metric in ("gt_known_loc", "top1_loc", "top5_loc"):
                    score = pair["metrics"][metric][delta]
                    assert score[side] == reference[metric][delta]["value"] and score["n"] == COUNT - 1
            assert pair["metrics"]["mean_iou"][side] == pytest.approx(reference["mean_iou"]["value"], abs=2e-6)
    known = [scores(runs / name, "layercam", 0) for name in "ab"]
    difference = [known[1][image]["iou"] - known[0][image]["iou"] for image in known[0]]
    score = found["pairs"][2]["metrics"]["mean_iou"]
    assert score["difference"] == pytest.approx(np.mean(difference), abs=1e-6)
    assert score["ci95"][0] <= score["difference"] <= score["ci95"][1]
    assert found == compare([runs / "a", runs / "b"])


def test_a_run_without_five_predictions_is_compared_in_the_rest(runs, tiny, tmp_path):
    run(tiny("explain.targets=[label,top1]"), tmp_path / "d")
    pair = compare([runs / "b", tmp_path / "d"])["pairs"][0]
    assert pair["unpaired"] == 0 and "top1_loc" in pair["metrics"] and "top5_loc" not in pair["metrics"]


def test_the_methods_of_one_run(runs):
    (pair,) = compare([runs / "a"])["pairs"]
    assert (pair["a"], pair["b"]) == ("cam", "layercam")
    with pytest.raises(ConfigurationError, match="one method and is one run"):
        compare([runs / "b"])
    with pytest.raises(ConfigurationError, match="is named twice; name every run once"):
        compare([runs / "b", f"{runs / 'b'}/"])


@pytest.mark.slow
def test_other_rules_are_refused_with_their_fields(runs, tmp_path):
    relocalize(runs / "a", ["box.threshold=0.1", "box.connectivity=4"], tmp_path / "c")
    message = r"different rules: box\.threshold \(0\.2, 0\.1\), box\.connectivity \(8, 4\); relocalize one"
    with pytest.raises(ConfigurationError, match=message):
        compare([runs / "a", tmp_path / "c"])
    forced = wsl_here("compare", runs / "a", tmp_path / "c", "--force", "--json")
    assert forced.returncode == 0 and json.loads(forced.stdout)["pairs"]
    # By name another protocol, by its rules the same one.
    relocalize(runs / "a", ["box.protocol=gradcam2017", "box.threshold=0.2"], tmp_path / "d")
    assert compare([runs / "a", tmp_path / "d"])["pairs"][1]["metrics"]["mean_iou"]["ci95"] == [0, 0]


@pytest.mark.slow
def test_other_images_are_refused(runs, tiny, tiny_data, tmp_path):
    run(tiny("data.limit=20"), tmp_path / "less")
    with pytest.raises(
        DataError, match=r"different images: 3 are only in the first and 0 only in the second.*image 21"
    ):
        compare([runs / "a", tmp_path / "less"])
    shutil.copytree(tiny_data / "data", tmp_path / "data")
    document = json.loads((tmp_path / "data" / "annotations.json").read_text())
    document["annotations"][0]["bbox"] = [0, 0, 9, 9]
    (tmp_path / "data" / "annotations.json").write_text(json.dumps(document))
    run(tiny(f"data.root={tmp_path / 'data'}"), tmp_path / "moved")
    with pytest.raises(DataError, match="the same images with other labels or boxes"):
        compare([runs / "a", tmp_path / "moved"])
    (tmp_path / "moved" / "_SUCCESS").unlink()
    with pytest.raises(DataError, match="moved is not complete"):
        compare([tmp_path / "moved", runs / "a"])


def test_images_that_failed_in_one_run_are_left_out_of_the_pair(runs, tiny, tiny_data, tmp_path):
    shutil.copytree(tiny_data / "data", tmp_path / "data")
    (tmp_path / "data" / "images" / "bild 5 é.png").write_bytes(b"no image either")
    document = json.loads((tmp_path / "data" / "annotations.json").read_text())
    run(tiny(f"data.root={tmp_path / 'data'}"), tmp_path / "fewer")
    assert len(document["images"]) == COUNT
    pair = compare([runs / "a", tmp_path / "fewer"])["pairs"][1]
    assert (pair["b"], pair["unpaired"], pair["metrics"]["mean_iou"]["n"]) == ("fewer/cam", 1, COUNT - 2)


def test_the_command_prints_a_table_or_json(runs):
    result = wsl_here("compare", runs / "a", runs / "b")
    assert result.returncode == 0 and "a/cam → b/layercam" in result.stderr and "GT-known@0.5" in result.stderr
    assert result.stdout == ""
    assert json.loads(wsl_here("compare", runs / "a", "--json").stdout)["systems"] == ["cam", "layercam"]


@pytest.mark.slow
def test_runs_in_a_store(runs):
    with serving():
        for name in "ab":
            upload(runs / name, name)
        places = [f"s3://{BUCKET}/a", f"s3://{BUCKET}/b"]
        result = wsl_here("compare", *places, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == compare([runs / "a", runs / "b"])
        missing = wsl_here("compare", *places, f"s3://{BUCKET}/c")
        assert missing.returncode == 3 and f"s3://{BUCKET}/c has no run.json" in missing.stderr
    strange = wsl_here("compare", "s3:/bucket/run", runs / "a")
    assert strange.returncode == 2 and "--out" not in strange.stderr and "s3:/bucket/run is neither" in strange.stderr


@pytest.mark.slow
def test_rules_are_those_that_a_run_was_scored_by(runs, tmp_path):
    (tmp_path / "list.txt").write_text("3\n")
    rules = [f"evaluate.blacklist={tmp_path / 'list.txt'}"]
    scored = [relocalize(runs / name, rules, tmp_path / name) for name in "ab"]
    (tmp_path / "list.txt").write_text("4\n")
    relocalize(runs / "b", rules, tmp_path / "c")
    for _ in range(2):
        found = compare([tmp_path / "a", tmp_path / "b"])
        assert found["protocol_fingerprint"] == scored[0]["protocol_fingerprint"]
        assert found["pairs"][0]["metrics"]["mean_iou"]["n"] == COUNT - 2
        with pytest.raises(ConfigurationError, match=r"different rules: box\.blacklist \(\w{16}, \w{16}\); reloc"):
            compare([tmp_path / "a", tmp_path / "c"], force=True)
        (tmp_path / "list.txt").unlink(missing_ok=True)
