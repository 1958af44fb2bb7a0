"""AP by category equals plain COCOeval, and odd inputs do not crash."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stages.errors import DataError
from stages.evaluate import coco_ap
from stages.evaluate.coco_ap import average_precision

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def random_set(seed: int) -> tuple[dict, list]:
    """Some images of five categories, one without ground truth, and noisy detections."""
    rng = np.random.default_rng(seed)
    truth: dict = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 400, "height": 300} for i in range(1, 26)],
        "categories": [{"id": c, "name": str(c)} for c in range(1, 6)],
        "annotations": [],
    }
    results = []
    for image in range(1, 26):
        for _ in range(rng.integers(1, 4)):
            category = int(rng.integers(1, 5))
            side = rng.choice([12, 50, 150])
            box = [*rng.uniform(0, 150, 2), *rng.uniform(side * 0.8, side * 1.2, 2)]
            annotation = {"id": len(truth["annotations"]) + 1, "image_id": image, "category_id": category}
            box = [round(float(value), 2) for value in box]
            truth["annotations"].append(annotation | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0})
            noisy = [float(value + rng.normal(0, side * 0.08)) for value in box]
            score = round(float(rng.random()), 6)
            results.append({"image_id": image, "category_id": category, "bbox": noisy, "score": score})
        stray = {
            "image_id": image,
            "category_id": int(rng.integers(1, 6)),
            "bbox": [5.0, 5.0, 40.0, 40.0],
            "score": 0.4,
        }
        results.append(stray)
    return truth, results


def plain(truth: dict, results: list) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats[:12])


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_plain_cocoeval(seed: int, capsys: pytest.CaptureFixture) -> None:
    truth, results = random_set(seed)
    before = copy.deepcopy((truth, results))
    found = average_precision(truth, results)
    assert (truth, results) == before
    np.testing.assert_allclose([found[name] for name in NAMES], plain(truth, results), atol=1e-6)
    assert 0.1 < found["AP"] < found["AP50"] < 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_both_libraries_give_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    faster = pytest.importorskip("faster_coco_eval")
    truth, results = random_set(seed)
    rng = np.random.default_rng(seed)
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = int(rng.random() < 0.2)
    for result in results:  # Many ties: which of them comes first must not depend on the library.
        result["score"] = round(result["score"], 1)
    assert coco_ap._library() == (faster.COCO, faster.COCOeval_faster)
    fast = average_precision(truth, results)
    monkeypatch.setattr(coco_ap, "_library", lambda: (COCO, COCOeval))
    assert fast == average_precision(truth, results)
    np.testing.assert_allclose([fast[name] for name in NAMES], plain(truth, results), atol=1e-6)


def test_perfect_boxes_score_one_whatever_the_annotation_ids() -> None:
    truth, _ = random_set(0)
    for number, annotation in enumerate(truth["annotations"]):
        annotation["id"] = number
        del annotation["area"], annotation["iscrowd"]
    results = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for annotation in truth["annotations"]
    ]
    assert average_precision(truth, results)["AP"] == pytest.approx(1)


def test_empty_results_score_zero_and_empty_truth_nothing() -> None:
    truth, results = random_set(0)
    found = average_precision(truth, [])
    assert found["AP"] == found["AP50"] == found["AR100"] == 0
    assert average_precision({**truth, "annotations": []}, results) == {}


def test_foreign_images_are_an_error_in_one_line() -> None:
    truth, results = random_set(0)
    with pytest.raises(DataError, match="image_id 99"):
        average_precision(truth, [{**results[0], "image_id": 99}])
