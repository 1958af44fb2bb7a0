"""Results lists as detectors write them: any number of boxes per image and class, in any order; images are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.evaluate import evaluate
from stages.errors import ConfigurationError, DataError

WIDTH, HEIGHT, CLASSES = 100, 80, 8
RIGHT, WRONG = [10, 10, 50, 40], [70, 60, 20, 10]


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., dict]:
    """Metrics of a results list; image i shows class ``i % 4 + 1`` at RIGHT."""

    def make(results: list[dict], count: int = 40, **changes: object) -> dict:
        truth = {
            "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(count)],
            "categories": [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": label(i), "bbox": RIGHT, "area": 2000} for i in range(count)
            ],
        }
        (tmp_path / "truth.json").write_text(json.dumps(truth | changes))
        (tmp_path / "results.json").write_text(json.dumps(results))
        return evaluate(tmp_path / "truth.json", tmp_path / "results.json", None, ["evaluate.iou=[0.5]"])

    return make


def label(image: int) -> int:
    return image % 4 + 1


def found(image: int, category: int, score: float, bbox: list[int] = RIGHT) -> dict:
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": score}


def values(metrics: dict) -> dict[str, tuple[float, int]]:
    own = metrics["methods"]["predictions"]
    scores = metrics["classification"] | {
        name: own[name]["0.5"] for name in ("gt_known_loc", "top1_loc", "top5_loc") if name in own
    }
    for one in scores.values():
        low, high = one["ci95"]
        assert 0 <= low <= one["value"] <= high <= 1
    return {name: (round(one["value"], 6), one["n"]) for name, one in scores.items()}


RULES = ("top1", "top5", "gt_known_loc", "top1_loc", "top5_loc")


@pytest.mark.parametrize(
    ("right", "each", "shift"), [(20, 2, 0), (10, 3, 0), (40, 2, -9), (0, 7, 0)], ids=["20x2", "10x3", "logits", "0x7"]
)
def test_several_boxes_of_a_class_count_their_image_once(score, right: int, each: int, shift: float) -> None:
    results = [
        found(image, label(image) + (0 if image < right else 4), shift + 0.9 - place / 100)
        for place in range(each)
        for image in range(40)
    ]
    assert values(score(results)) == dict.fromkeys(RULES, (right / 40, 40))


def test_one_extra_box_is_no_extra_image(score) -> None:
    results = [found(image, label(image), 0.5) for image in range(40)]
    assert values(score([*results, found(7, label(7), 0.5)])) == dict.fromkeys(RULES, (1.0, 40))


def test_a_class_behind_five_boxes_of_another_is_the_second_guess_of_the_classification(score) -> None:
    results = [found(image, 8, 0.9) for image in range(40) for _ in range(6)]
    results += [found(image, label(image), 0.1) for image in range(20)]
    metrics = score(results)
    assert values(metrics) == {
        "top1": (0.0, 40),
        "top5": (0.5, 40),
        "gt_known_loc": (0.5, 40),
        "top1_loc": (0.0, 40),
        "top5_loc": (0.0, 40),
    }
    assert metrics["methods"]["predictions"]["box_status"] == {"not_predicted": 20, "not_scored": 20, "ok": 220}


@pytest.mark.parametrize("seed", range(2))
def test_lists_of_any_form_score_as_the_rules_say(score, seed: int) -> None:
    """Every class, any number of boxes, no order; the values come from the rules written out image by image."""
    generator = np.random.default_rng(seed)
    results = []
    for image in range(40):
        for category in generator.permutation(CLASSES)[: generator.integers(0, CLASSES + 1)] + 1:
            for _ in range(generator.integers(1, 5)):
                bbox = RIGHT if generator.random() < 0.5 else WRONG
                results.append(found(image, int(category), float(generator.normal()), bbox))
    results = [results[place] for place in generator.permutation(len(results))]
    right: dict[str, int] = dict.fromkeys(RULES, 0)
    for image in range(40):
        own = sorted((one for one in results if one["image_id"] == image), key=lambda one: -one["score"])
        hits = [one["category_id"] == label(image) and one["bbox"] == RIGHT for one in own]
        classes = list(dict.fromkeys(one["category_id"] for one in own))
        best = next((one["bbox"] for one in own if one["category_id"] == label(image)), WRONG)
        right["top1"] += classes[:1] == [label(image)]
        right["top5"] += label(image) in classes[:5]
        right["gt_known_loc"] += best == RIGHT
        right["top1_loc"] += any(hits[:1])
        right["top5_loc"] += any(hits[:5])
    assert values(score(results)) == {name: (round(count / 40, 6), 40) for name, count in right.items()}


def test_equal_scores_do_not_depend_on_the_order_of_the_list(score) -> None:
    results = [found(image, category, 0.5) for image in range(40) for category in (label(image), label(image) + 4)]
    assert values(score(results)) == values(score(results[::-1])) == dict.fromkeys(RULES, (1.0, 40))


BAD = {
    "no object": 3,
    "unknown image": found(99, 1, 0.5),
    "unknown class": found(1, 99, 0.5),
    "no score": {"image_id": 1, "category_id": 1, "bbox": RIGHT},
    "score that is no number": found(1, 1, float("nan")),
    "no box": found(1, 1, 0.9, []),
    "inverted box": found(1, 1, 0.9, [10, 10, -5, 5]),
}


def test_entries_that_cannot_be_used_cost_no_others(score, caplog) -> None:
    results: list = [found(image, label(image), 0.5) for image in range(40)]
    whole = score(results)
    odd = [
        {"image_id": f"{one['image_id']:012}", "category_id": float(one["category_id"]), "score": "0.5"}
        | {"bbox": [str(edge) for edge in one["bbox"]]}
        for one in results
    ]
    assert score([*BAD.values(), *odd]) == whole
    assert caplog.messages == [
        "7 predictions left out: their entries cannot be used, such as: entry 0: it is not an object"
    ]


def test_conventions_of_boxes(score, tmp_path, caplog) -> None:
    """Corners are refused with the guess, and read where they are named, in both files or in either."""
    results = [found(image, label(image), 0.5) for image in range(40)]
    whole = score(results)
    truth = json.loads((tmp_path / "truth.json").read_text())
    corners = {"truth": truth, "results": results}
    for one in (*truth["annotations"], *results):
        one["bbox"] = [10, 10, 60, 50] if one["image_id"] % 2 else [60, 40, 100, 80]
    for name, content in corners.items():
        (tmp_path / f"{name} in corners.json").write_text(json.dumps(content))
    for one in (*truth["annotations"], *results):
        one["bbox"] = [10, 10, 50, 40] if one["image_id"] % 2 else [60, 40, 40, 40]
    for name, content in corners.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def evaluated(truth: str, results: str, *formats: str) -> dict:
        rules = ["evaluate.iou=[0.5]"]
        return evaluate(tmp_path / f"{truth}.json", tmp_path / f"{results}.json", None, rules, *formats)

    plain = evaluated("truth", "results")
    assert plain["methods"]["predictions"]["mean_iou"]["value"] == 1
    assert plain["methods"]["predictions"]["coco"]["AP"] == whole["methods"]["predictions"]["coco"]["AP"] == 1
    assert evaluated("truth", "results in corners", "xyxy") == plain
    assert evaluated("truth in corners", "results in corners", "xyxy") == plain
    assert evaluated("truth in corners", "results", "auto", "xyxy") == plain
    assert not caplog.messages
    with pytest.raises(
        DataError, match=r"^--box-format: the boxes of .*results in corners\.json .*choose xyxy, or xywh"
    ):
        evaluated("truth", "results in corners")
    with pytest.raises(DataError, match=r"^--ground-truth-box-format: .*truth in corners\.json .*choose xyxy, or xywh"):
        evaluated("truth in corners", "results")
    with pytest.raises(
        ConfigurationError, match=r"^--box-format: unknown convention of boxes 'xyyx'; did you mean xyxy"
    ):
        evaluated("truth", "results", "xyyx")
    evaluated("truth", "results in corners", "xywh")
    assert caplog.messages == ["20 predicted boxes clipped: they end outside their image"]


def test_an_image_without_a_size_costs_no_other(score, caplog) -> None:
    results = [found(image, label(image), 0.5, RIGHT if image else WRONG) for image in range(5)]
    images = [{"id": number, "file_name": "x", "width": WIDTH, "height": HEIGHT} for number in range(5)]
    images[0]["width"] = None
    metrics = score(results, 5, images=images)
    assert values(metrics) == dict.fromkeys(("top1", "gt_known_loc", "top1_loc"), (1.0, 4))
    assert metrics["methods"]["predictions"]["coco"]["AP"] == 1
    assert caplog.messages[-1].startswith("1 images are not scored, such as: ")


def test_ground_truth_of_labels_alone_scores_the_classification(score) -> None:
    tags = [{"id": image, "image_id": image, "category_id": label(image)} for image in range(40)]
    metrics = score([found(image, label(image % 21), 0.5) for image in range(40)], annotations=tags)
    assert values(metrics)["top1"] == (sum(label(i) == label(i % 21) for i in range(40)) / 40, 40)
    assert "gt_known_loc" not in metrics["methods"]["predictions"]
