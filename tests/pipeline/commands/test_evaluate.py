"""Results of other programs: a run's own, taken out of it, score as the run did; bad ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.evaluate import evaluate
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from stages.errors import ConfigurationError, DataError
from tests.runs import BROKEN, COUNT, wsl, wsl_here


@pytest.fixture(scope="module")
def foreign(tiny, tmp_path_factory):
    """A run, and beside it its maps and boxes as another program would leave them."""
    folder = tmp_path_factory.mktemp("foreign")
    run(tiny("explain.methods=[cam]"), folder / "run")
    relocalize(folder / "run", ["box.protocol=choe2020"], folder / "choe")
    relocalize(folder / "run", ["box.protocol=foreground2026"], folder / "fused")
    # Rules that leave no map without a box: COCO results have no entry for such a class.
    relocalize(folder / "run", ["box.normalize=minmax"], folder / "boxes")
    truth = json.loads((folder / "run" / "coco" / "ground_truth.json").read_text())
    truth["images"] = [image for image in truth["images"] if image["id"] != BROKEN]
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] != BROKEN]
    truth["annotations"][0]["id"] = 0
    for annotation in truth["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    (folder / "truth.json").write_text(json.dumps(truth))
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    (folder / "maps").mkdir()
    arrays = {}
    for row in pq.read_table(folder / "run" / "predictions").to_pylist():
        if row["target_rank"] == 0:
            map = np.array(row["map"], np.float32).reshape(row["map_h"], row["map_w"])
            np.save(folder / "maps" / f"{Path(names[row['image_id']]).stem}.npy", map)
            arrays[str(row["image_id"])] = map
    np.savez(folder / "maps.npz", **arrays)
    return folder


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("kind", ["maps", "maps.npz"])
@pytest.mark.parametrize(("protocol", "name"), [("cam2016", "run"), ("choe2020", "choe"), ("foreground2026", "fused")])
def test_the_maps_of_a_run_score_as_the_run_did(foreign, kind, protocol, name):
    found = evaluate(foreign / "truth.json", None, foreign / kind, [f"box.protocol={protocol}", "model.size=32"])
    expected = metrics_of(foreign / name)
    assert found["protocol_fingerprint"] == expected["protocol_fingerprint"]
    assert (found["n_images"], found["n_failed"]) == (COUNT - 1, 0)
    for metric in ("gt_known_loc", "mean_iou", "max_box_acc", "max_box_acc_v2", "box_acc_curve"):
        assert found["methods"]["maps"][metric] == expected["methods"]["cam"][metric]
    assert found["baselines"]["full_image"] == expected["baselines"]["full_image"]


def test_the_boxes_of_a_run_score_as_the_run_did(foreign):
    found = evaluate(foreign / "truth.json", foreign / "boxes" / "coco" / "predictions.json", None, [])
    expected = metrics_of(foreign / "boxes")
    own, cam = found["methods"]["predictions"], expected["methods"]["cam"]
    assert found["classification"] == expected["classification"]
    # The list has whole hundredths of pixels.
    for metric in ("top1_loc", "top5_loc"):
        assert {delta: one["value"] for delta, one in own[metric].items()} == pytest.approx(
            {delta: one["value"] for delta, one in cam[metric].items()}, abs=0.05
        )
    assert own["coco"] == pytest.approx(cam["coco"], abs=1e-9)
    assert "max_box_acc" not in own and found["baselines"]


def test_blacklisted_images_leave_foreign_boxes_and_their_truth(foreign, tmp_path):
    predictions = foreign / "boxes" / "coco" / "predictions.json"
    (tmp_path / "list.txt").write_text("1 2 3")
    truth = json.loads((foreign / "truth.json").read_text())
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] > 3]
    truth["images"] = [one for one in truth["images"] if one["id"] > 3]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    results = [one for one in json.loads(predictions.read_text()) if one["image_id"] > 3]
    (tmp_path / "results.json").write_text(json.dumps(results))
    less = evaluate(foreign / "truth.json", predictions, None, [f"evaluate.blacklist={tmp_path / 'list.txt'}"])
    same = evaluate(tmp_path / "truth.json", tmp_path / "results.json", None, [])
    for key in ("classification", "baselines"):
        assert less[key] == same[key]
    own, other = less["methods"]["predictions"], same["methods"]["predictions"]
    del own["box_status"], other["box_status"]  # Of all boxes that there are.
    assert own == other


def test_boxes_count_by_class_and_score(tmp_path):
    truth = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 80} for number in (1, 2, 3, 4)],
        "categories": [{"id": 10, "name": "cat"}, {"id": 20, "name": "dog"}],
        "annotations": [
            {"id": 0, "image_id": 1, "category_id": 20, "bbox": [0, 0, 50, 40]},
            {"id": 0, "image_id": 2, "category_id": 10, "bbox": [50, 40, 50, 40]},
            {"id": 0, "image_id": 3, "category_id": 10, "bbox": [0, 0, 10, 10]},
        ],
    }
    right, wrong = [0, 0, 50, 40], [60, 60, 10, 10]
    results = [
        {"image_id": 1, "category_id": 20, "bbox": right, "score": 0.2},  # third by score
        {"image_id": 1, "category_id": 10, "bbox": right, "score": 0.9},
        {"image_id": 1, "category_id": 20, "bbox": wrong, "score": 0.5},  # the label's best
        {"image_id": 2, "category_id": 10, "bbox": [50, 40, 70, 90], "score": 0.3},  # reaches out of the image
        {"image_id": 4, "category_id": 10, "bbox": wrong, "score": 0.3},  # an image without boxes
    ]
    for name, content in (("truth", truth), ("results", results), ("none", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = evaluate(tmp_path / "truth.json", tmp_path / "results.json", None, ["evaluate.iou=[0.5]"])
    own = found["methods"]["predictions"]
    values = {name: own[name]["0.5"]["value"] for name in ("gt_known_loc", "top1_loc", "top5_loc")}
    assert values == pytest.approx({"gt_known_loc": 1 / 3, "top1_loc": 1 / 3, "top5_loc": 2 / 3}, abs=1e-6)
    assert found["classification"]["top1"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert own["mean_iou"]["n"] == 3 and found["n_images"] == 4
    nothing = evaluate(tmp_path / "truth.json", tmp_path / "none.json", None, [])
    assert nothing["methods"]["predictions"]["mean_iou"]["value"] == 0
    assert nothing["methods"]["predictions"]["coco"]["AP"] == 0
    assert "top5_loc" not in nothing["methods"]["predictions"]


def test_maps_of_any_size_and_degenerate_maps(foreign, tmp_path, caplog):
    shutil.copytree(foreign / "maps", tmp_path / "maps")
    paths = sorted((tmp_path / "maps").iterdir())
    np.save(paths[0], np.full((9, 5), np.nan))
    np.save(paths[1], -np.ones((3, 3)) - np.eye(3))
    np.save(paths[2], np.full((40, 60), 2.5))
    for path in paths[3:]:
        np.save(path, np.random.default_rng(0).integers(0, 255, (60, 40), np.uint8))
    found = evaluate(foreign / "truth.json", None, tmp_path / "maps", [])
    assert found["methods"]["maps"]["box_status"] == {
        "constant_map": 1,
        "empty_map": 1,
        "non_finite": 1,
        "ok": COUNT - 4,
    }
    assert found["methods"]["maps"]["mean_iou"]["n"] == COUNT - 1
    assert caplog.messages == ["3 maps show no object: constant_map 1, empty_map 1, non_finite 1"]


def test_maps_of_odd_form_count_as_the_others_and_bad_ones_fail_alone(foreign, tmp_path, caplog):
    """Axes of one, float16 and bool; the values of images that are scored do not change."""
    shutil.copytree(foreign / "maps", tmp_path / "maps")
    paths = sorted((tmp_path / "maps").iterdir())
    mask = np.load(paths[2]) > 0
    np.save(paths[2], mask)
    whole = evaluate(foreign / "truth.json", None, tmp_path / "maps", [])
    np.save(paths[0], np.load(paths[0])[None])
    np.save(paths[1], np.load(paths[1]).astype(np.float16)[..., None])
    np.save(paths[2], mask[None].astype(np.uint8))
    assert evaluate(foreign / "truth.json", None, tmp_path / "maps", []) == whole
    caplog.clear()
    np.save(paths[3], np.ones((2, 3, 4)))
    paths[4].unlink()
    np.save(tmp_path / "maps" / "somewhere.npy", mask)
    found = evaluate(foreign / "truth.json", None, tmp_path / "maps", [])
    assert (found["n_images"], found["n_failed"]) == (COUNT - 1, 2)
    assert found["methods"]["maps"]["mean_iou"]["n"] == COUNT - 3
    extra, failed, _ = caplog.messages
    assert extra.startswith("1 maps left out: they are of no image") and extra.endswith("somewhere.npy")
    assert failed.startswith(f"2 of {COUNT - 1} images are not scored, such as: ")


def test_ground_truth_in_corners_is_named_for_maps_too(foreign, tmp_path):
    truth = json.loads((foreign / "truth.json").read_text())
    for one in truth["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    found = evaluate(path, None, foreign / "maps.npz", [], "xyxy")
    assert found == evaluate(path, None, foreign / "maps.npz", [], "auto", "xyxy")
    plain = evaluate(foreign / "truth.json", None, foreign / "maps.npz", [])
    for metric in ("mean_iou", "gt_known_loc"):
        assert found["methods"]["maps"][metric] == plain["methods"]["maps"][metric]


def result(**changes) -> dict:
    return {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, "is not a COCO results list"),
        ("[", "is not valid JSON"),
        ([3, result(image_id=99)], "2 predictions left out: .* entry 0: it is not an object; none is left"),
        ([result(image_id=99)], "image_id 99 is not in the ground truth"),
        ([result(image_id=True)], "image_id True is not in the ground truth"),
        ([result(category_id=8)], "category_id 8 is not in the ground truth"),
        ([result(bbox=[0, 0, 5])], "is not x, y, width, height"),
        ([result(bbox=[0, 0, -5, 5])], "is not x, y, width, height"),
        ([result(bbox=[0, 0, float("nan"), 5])], "is not x, y, width, height"),
        ([result(score=None)], "score None is not a finite number"),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}], "'score' is missing"),
    ],
)
def test_bad_results_are_one_line(foreign, tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        evaluate(foreign / "truth.json", path, None, [])
    assert "\n" not in str(caught.value)


def test_no_usable_map_is_one_line(foreign, tmp_path):
    def refused(message: str, path: Path) -> None:
        with pytest.raises(DataError, match=message) as caught:
            evaluate(foreign / "truth.json", None, path, [])
        assert "\n" not in str(caught.value)

    (tmp_path / "others").mkdir()
    np.save(tmp_path / "others" / "somewhere.npy", np.ones((3, 3)))
    refused("^--maps: .*no map of an image .*: 1 maps left out: .*such as: somewhere.npy", tmp_path / "others")
    (tmp_path / "flat").mkdir()
    np.save(tmp_path / "flat" / "1.npy", np.ones(3))
    refused(rf"^none of {COUNT - 1} images can be scored: ", tmp_path / "flat")
    np.save(tmp_path / "one.npy", np.ones((3, 3)))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    refused("is one array, not an .npz archive", tmp_path / "one.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    refused("is not an .npz archive", tmp_path / "empty.npz")
    refused("neither a folder", foreign / "truth.json")
    refused("holds no maps", foreign / "run")


def test_bad_ground_truth_and_arguments_are_one_line(foreign, tmp_path):
    predictions = foreign / "run" / "coco" / "predictions.json"
    truth = json.loads((foreign / "truth.json").read_text())

    def refused(message: str, **changes) -> None:
        (tmp_path / "truth.json").write_text(json.dumps(truth | changes))
        with pytest.raises(DataError, match=message):
            evaluate(tmp_path / "truth.json", predictions, None, [])

    whole = evaluate(foreign / "truth.json", predictions, None, [])
    broken = [{"id": 0, "image_id": 1, "category_id": 1, "bbox": []}, {"id": 0, "image_id": 99, "category_id": 1}]
    (tmp_path / "truth.json").write_text(json.dumps(truth | {"annotations": [*broken, *truth["annotations"]]}))
    assert evaluate(tmp_path / "truth.json", predictions, None, []) == whole
    (tmp_path / "truth.json").write_text(json.dumps(truth | {"images": [*truth["images"], truth["images"][0]]}))
    assert evaluate(tmp_path / "truth.json", predictions, None, []) == whole
    refused("image 1 has no width and height", images=[{"id": 1, "file_name": "1.png"}], annotations=[])
    refused("no image has a box or a label to score", annotations=[])
    with pytest.raises(DataError, match="no annotation file"):
        evaluate(tmp_path / "none.json", predictions, None, [])
    with pytest.raises(DataError, match="cannot read"):
        evaluate(foreign / "truth.json", tmp_path / "none.json", None, [])
    with pytest.raises(ConfigurationError, match="either --predictions or --maps"):
        evaluate(foreign / "truth.json", None, None, [])
    with pytest.raises(ConfigurationError, match=r"data\.root=/x: only box, evaluate, seed, data"):
        evaluate(foreign / "truth.json", predictions, None, ["data.root=/x"])
    with pytest.raises(ConfigurationError, match="did you mean cam2016"):
        evaluate(foreign / "truth.json", predictions, None, ["box.protocol=cam2061"])


@pytest.mark.slow
def test_the_command(foreign):
    options = "--ground-truth", foreign / "truth.json", "--maps", foreign / "maps.npz"
    watch = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))"
    result = wsl("evaluate", *options, "box.threshold=0.3", "--json", prelude=watch)
    assert result.returncode == 0 and result.stderr.splitlines()[-1] == "False", result.stderr
    assert json.loads(result.stdout)["methods"]["maps"]["mean_iou"]["n"] == COUNT - 1
    table = wsl_here("evaluate", *options)
    assert table.returncode == 0 and "full_image" in table.stderr and "page:" not in table.stderr
    assert table.stderr.count("(oracle)") == 2
    missing = wsl_here("evaluate", *options[2:])
    assert missing.returncode == 2 and "--ground-truth" in missing.stderr
