"""A run as Python sees it holds what its files hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import pipeline as wsl
from pipeline.commands.compare import compare
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run as carry_out
from pipeline.engine.interrupt import Interruption
from pipeline.report.drawing import ESTIMATE, TRUTH
from stages.errors import ConfigurationError, DataError
from tests.objectstore import BUCKET, serving, upload
from tests.runs import BROKEN, COUNT, files


@pytest.fixture(scope="module")
def place(finished_runs) -> Path:
    return finished_runs / "runs" / "tiny"


@pytest.fixture(scope="module")
def run(place) -> wsl.Run:
    return wsl.load(place)


@pytest.fixture(scope="module")
def stored(place) -> pd.DataFrame:
    """The predictions as pyarrow reads them."""
    return pq.read_table(place / "predictions").to_pandas()


@pytest.fixture
def half(place, tmp_path) -> wsl.Run:
    """The run before its last shard was committed."""
    shutil.copytree(place, tmp_path / "half")
    (tmp_path / "half" / "_SUCCESS").unlink()
    sorted((tmp_path / "half" / "predictions").iterdir())[-1].unlink()
    return wsl.load(tmp_path / "half")


def test_boxes_are_those_of_the_files(run, stored):
    found = run.boxes()
    assert found[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == np.stack(stored["box"]).tolist()
    for name in ("image_id", "method", "target_rank", "class_index", "class_name", "prob", "box_status", "iou"):
        assert found[name].equals(stored[name]), name
    assert (found["file_name"] == [f"images/bild {number} é.png" for number in found["image_id"]]).all()
    assert BROKEN not in set(found["image_id"]) and len(set(found["image_id"])) == COUNT - 1


def test_boxes_of_one_method_and_rank(run, stored):
    found = run.boxes(method="gradcam", rank=2)
    chosen = stored[(stored["method"] == "gradcam") & (stored["target_rank"] == 2)]
    assert found["x1"].tolist() == np.stack(chosen["box"])[:, 2].tolist() and len(found) == COUNT - 1
    assert set(found["method"]) == {"gradcam"} and list(found.index) == list(range(COUNT - 1))
    assert len(run.boxes(rank=0)) == 2 * (COUNT - 1) and run.boxes(rank=17).empty
    with pytest.raises(ConfigurationError, match=r"unknown method of the run 'grdcam'; did you mean gradcam\?"):
        run.boxes(method="grdcam")


def test_every_number_of_the_metrics_is_a_score(run, place):
    metrics = json.loads((place / "metrics.json").read_text())
    assert run.metrics == metrics
    table = run.scores()
    assert list(table.columns) == [
        *("method", "metric", "level", "value", "low", "high", "n", "threshold_from", "baseline"),
    ]

    def leaves(node: object) -> int:
        if not isinstance(node, dict):
            return 0
        return 1 if "value" in node else sum(map(leaves, node.values()))

    groups = metrics["methods"], metrics["baselines"], metrics["classification"]
    coco = sum(len(one["coco"]) for one in metrics["methods"].values())
    assert len(table) == sum(map(leaves, groups)) + coco
    assert not table.duplicated(["method", "metric", "level"]).any()
    assert set(table[table["baseline"]]["method"]) == set(metrics["baselines"])

    (row,) = table[(table.method == "gradcam") & (table.metric == "max_box_acc") & (table.level == 0.3)].itertuples()
    own = metrics["methods"]["gradcam"]["max_box_acc"]["0.3"]
    assert [row.value, [row.low, row.high], row.n] == [own["value"], own["ci95"], own["n"]]
    assert row.threshold_from == "oracle" and not row.baseline
    (top,) = table[table.metric == "top1"].itertuples()
    assert top.value == metrics["classification"]["top1"]["value"] and pd.isna(top.method) and np.isnan(top.level)
    (small,) = table[
        (table.method == "cam") & (table.metric == "strata.size.small") & (table.level == 0.5)
    ].itertuples()
    assert small.value == metrics["methods"]["cam"]["strata"]["size"]["small"]["0.5"]["value"]
    (ap,) = table[(table.method == "cam") & (table.metric == "coco.AP50")].itertuples()
    assert ap.value == metrics["methods"]["cam"]["coco"]["AP50"] and np.isnan(ap.low) and pd.isna(ap.n)


def test_errors_and_images(run):
    (error,) = run.errors().to_dict("records")
    assert (error["image_id"], error["stage"], error["error_code"]) == (BROKEN, "decode", "NotAnImage")
    images = run.images()
    assert images["image_id"].tolist() == list(range(1, COUNT + 1))
    assert images.loc[2, "label"] == 3 and images.loc[2, "boxes"].shape == (1, 4)
    assert images.loc[2, "boxes"].dtype == np.float32 and images.loc[2, "box_labels"].tolist() == [3]


def test_a_run_without_errors_has_a_table_of_them(finished_runs, tmp_path):
    made = wsl.run(finished_runs / "tiny.yaml", out=tmp_path / "run", limit=2, quiet=True)
    assert made.errors().empty and "error_code" in made.errors() and len(made.images()) == 2


@pytest.mark.parametrize(("method", "rank"), [("cam", 0), ("gradcam", 3), (None, None)])
def test_maps_are_the_stored_ones(run, stored, method, rank):
    for image_id in (1, 12, COUNT):
        chosen = stored[(stored["image_id"] == image_id) & (stored["method"] == (method or "cam"))]
        (row,) = chosen[chosen["target_rank"] == (rank or 0)].itertuples()
        expected = row.map.astype(np.float32).reshape(row.map_h, row.map_w) * np.float32(row.map_scale)
        found = run.map(image_id, method, rank)
        assert found.dtype == np.float32 and np.array_equal(found, expected) and found.any()


def test_what_has_no_map_is_named(run, half):
    with pytest.raises(DataError, match=f"image {BROKEN} failed in decode: the bytes are in no image format"):
        run.map(BROKEN)
    with pytest.raises(ConfigurationError, match=r"runs/tiny has no image 99; images\(\) lists"):
        run.map(99)
    with pytest.raises(ConfigurationError, match="image 1 has no rank 9; explained: 0, 1, 2, 3, 4, 5"):
        run.draw(1, rank=9)
    with pytest.raises(DataError, match=f"half has not reached image {COUNT} yet"):
        half.map(COUNT)


def test_a_run_that_goes_on_has_tables_but_no_scores(half, run):
    assert len(half.boxes()) == len(run.boxes()) - 3 * 12 and len(half.images()) == COUNT
    assert np.array_equal(half.map(1), run.map(1))
    for ask in (lambda: half.metrics, half.scores, lambda: wsl.compare(half)):
        with pytest.raises(DataError, match="half is not complete; run its command again") as raised:
            ask()
        assert "\n" not in str(raised.value)
    assert "not complete" in repr(half) and "1 failed; cam, gradcam" in repr(run)


def test_nothing_is_loaded_where_nothing_is(tmp_path):
    with pytest.raises(DataError, match="absent holds no run"):
        wsl.load(tmp_path / "absent")


def test_a_picture_has_heat_and_both_boxes(run, stored):
    chosen = stored[(stored["method"] == "cam") & (stored["target_rank"] == 1) & (stored["box_status"] == "ok")]
    image_id = int(chosen["image_id"].iloc[3])
    record = run.images().set_index("image_id").loc[image_id]
    picture = run.draw(image_id, method="cam", rank=1)
    assert picture.size == (record["width"], record["height"])
    pixels = np.asarray(picture)
    for colour, box in ((ESTIMATE, chosen["box"].iloc[3]), (TRUTH, record["boxes"][0])):
        x0, y0, _, _ = np.rint(box).astype(int)
        assert (pixels[y0, x0] == colour).all() or colour == TRUTH
        assert (pixels == colour).all(-1).any()


def test_an_image_that_is_gone_is_named(finished_runs, tmp_path):
    shutil.copytree(finished_runs / "data", tmp_path / "data")
    made = wsl.run(
        finished_runs / "tiny.yaml", {"data.root": tmp_path / "data"}, out=tmp_path / "run", limit=2, quiet=True
    )
    assert made.draw(1).size == (66, 76)
    (tmp_path / "data" / "images" / "bild 1 é.png").unlink()
    with pytest.raises(DataError, match=r"image 1, .*bild 1 é\.png: no such file"):
        made.draw(1)
    assert made.map(1).any()


def test_running_is_what_the_command_does(finished_runs, place, tmp_path, monkeypatch, capfd):
    import torch

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        changes = {"runtime.shard_size": 5, "runtime.batch_size": 3, "explain.methods": ["cam", "gradcam"]}
        made = wsl.run(finished_runs / "tiny.yaml", changes, quiet=True, executor="inline")
        assert torch.get_num_threads() == 2, "a run that is over leaves torch as it was"
    finally:
        torch.set_num_threads(threads)
    assert files(Path(made.uri)) == files(place)
    assert Path(made.uri).parent == tmp_path / "runs" and Path(made.uri).name.startswith("tiny-")
    assert capfd.readouterr() == ("", "")
    again = wsl.run(finished_runs / "tiny.yaml", [f"{key}={value}" for key, value in changes.items()], quiet=True)
    assert again.uri == made.uri


def test_an_interrupted_call_says_how_to_resume(finished_runs, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise Interruption

    monkeypatch.setattr("pipeline.api.carry_out", interrupted)
    with pytest.raises(KeyboardInterrupt, match="run is not complete; the same call resumes it"):
        wsl.run(finished_runs / "tiny.yaml", out=tmp_path / "run", quiet=True)


def test_errors_of_a_run_are_one_line(finished_runs):
    with pytest.raises(ConfigurationError, match=r"unknown key box\.treshold; did you mean box\.threshold\?") as raised:
        wsl.run(finished_runs / "tiny.yaml", {"box.treshold": 0.1})
    assert "\n" not in str(raised.value)


def test_relocalizing_is_what_the_command_does(run, place, tmp_path):
    made = run.relocalize(tmp_path / "new", {"evaluate.iou": [0.5]}, quiet=True, protocol="gradcam2017", connectivity=4)
    assert isinstance(made, wsl.Run) and set(made.metrics["methods"]["cam"]["gt_known_loc"]) == {"0.5"}
    rules = ["evaluate.iou=[0.5]", "box.protocol=gradcam2017", "box.connectivity=4"]
    relocalize(place, rules, tmp_path / "other")
    assert files(tmp_path / "new") == files(tmp_path / "other")
    assert np.array_equal(made.map(3), run.map(3)) and made.draw(3).size == run.draw(3).size
    with pytest.raises(ConfigurationError, match=r"model\.size=64: this needs the network"):
        run.relocalize(tmp_path / "no", {"model.size": 64})


def test_differences_are_those_of_the_command(run, place, tmp_path):
    low = run.relocalize(tmp_path / "low", quiet=True)
    found = compare([place, low.uri])
    table = wsl.compare(run, tmp_path / "low")
    assert len(table) == len(found["pairs"]) * 10 and set(table["a"]) == {"tiny/cam", "tiny/gradcam", "low/cam"}
    (row,) = table[
        (table.a == "tiny/cam") & (table.b == "low/gradcam") & (table.metric == "top5_loc") & (table.level == 0.3)
    ].itertuples()
    (pair,) = (one for one in found["pairs"] if (one["a"], one["b"]) == ("tiny/cam", "low/gradcam"))
    own = pair["metrics"]["top5_loc"]["0.3"]
    assert [row.value_a, row.value_b, row.difference, [row.low, row.high]] == [
        *(own["a"], own["b"], own["difference"], own["ci95"]),
    ]
    assert row.mcnemar_p == own["mcnemar_p"] and row.noise == own["noise"] and row.n == own["n"]
    means = table[table.metric == "mean_iou"]
    assert means["level"].isna().all() and means["mcnemar_p"].isna().all()


@pytest.mark.slow
def test_a_run_in_an_object_store(run, place):
    with serving():
        upload(place, "run")
        remote = wsl.load(f"s3://{BUCKET}/run")
        assert remote.boxes().equals(run.boxes()) and remote.errors().equals(run.errors())
        assert np.array_equal(remote.map(COUNT), run.map(COUNT)) and remote.metrics == run.metrics
        assert remote.draw(2).tobytes() == run.draw(2).tobytes() and f"s3://{BUCKET}/run" in repr(remote)


def test_a_run_is_read_while_another_process_carries_it_on(tiny, tmp_path):
    """Nothing of a run is kept: what is committed later is there later."""
    seen = []

    def watch(progress: object) -> None:
        seen.append(len(wsl.load(tmp_path / "run").boxes()))

    carry_out(tiny(), tmp_path / "run", watch)
    assert seen[0] == 0 and seen == sorted(seen) and seen[-1] == 264
