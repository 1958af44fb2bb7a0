"""Predictors that look at no pixel."""

from __future__ import annotations

import gzip
from collections import defaultdict
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from stages.batch import ragged
from stages.evaluate.baselines import Baselines, Counts, compute, merge, zero_line
from stages.protocols import Protocol, get_protocol

METADATA = Path(__file__).resolve().parents[3] / "../shared/data/wsol-metadata/ILSVRC/test"
DELTAS = (0.3, 0.5, 0.7)
CHOE = get_protocol("choe2020")
CAM = get_protocol("cam2016")


@pytest.fixture(scope="module")
def imagenet_val() -> tuple[np.ndarray, np.ndarray]:
    """Sizes and half-open boxes of the 50,000 images of the ILSVRC2012 validation set."""
    if not METADATA.is_dir():
        pytest.skip("needs the boxes of wsolevaluation beside the repository, shared/data/wsol-metadata")

    def lines(name: str) -> list[list[str]]:
        return [line.split(",") for line in gzip.open(METADATA / f"{name}.txt.gz", "rt").read().split()]

    sizes = {name: (int(width), int(height)) for name, width, height in lines("image_sizes")}
    boxes = defaultdict(list)
    for name, *corners in lines("localization"):
        x0, y0, x1, y1 = map(int, corners)
        boxes[name].append((x0, y0, x1 + 1, y1 + 1))
    return np.array(list(sizes.values())), ragged(np.array(boxes[name], np.float32) for name in sizes)


def scores(sizes: np.ndarray, boxes: np.ndarray, protocol: Protocol, parts: int = 1, seed: int = 0) -> dict:
    """All baselines of images that were counted in so many parts."""
    blind = Baselines(protocol, 224, DELTAS, seed)
    rows = np.array_split(np.arange(len(sizes)), parts)
    found = (blind.update(own + 1, sizes[own], boxes[own]) for own in rows)
    return compute(reduce(merge, found, Counts()), protocol, DELTAS, seed)


def test_imagenet_val_as_published_data_give_it(imagenet_val: tuple[np.ndarray, np.ndarray]) -> None:
    found = scores(*imagenet_val, CHOE, parts=49)
    whole = found["full_image"]["gt_known_loc"]
    assert [whole[delta]["n"] for delta in whole] == [50_000] * 3
    assert [round(whole[delta]["value"] * 50_000) for delta in whole] == [31_530, 20_554, 11_297]
    gaussian = found["center_gaussian"]
    best = [round(100 * entry["value"], 2) for entry in gaussian["max_box_acc"].values()]
    np.testing.assert_allclose(best, [76.81, 54.06, 29.28], atol=0.011)
    assert gaussian["max_box_acc_v2"]["value"] == pytest.approx(0.5339, abs=1e-4)


@pytest.mark.slow
def test_full_image_at_original_size_on_imagenet_val(imagenet_val: tuple[np.ndarray, np.ndarray]) -> None:
    found = scores(*imagenet_val, CAM, parts=49)
    assert found["full_image"]["gt_known_loc"]["0.5"]["value"] == 0.40702
    random = found["random"]["gt_known_loc"]["0.5"]["value"]
    assert 0.01 < random < 0.1  # Far below the others: it is no zero line of its own.


def test_full_image_by_hand() -> None:
    sizes = np.array([[10, 10], [20, 10], [8, 8]])
    boxes = ragged([np.array([[0, 0, 10, 4], [0, 0, 5, 10]]), np.array([[0, 0, 20, 10]]), np.zeros((0, 4))])
    found = scores(sizes, boxes, CAM)["full_image"]
    assert {delta: entry["value"] for delta, entry in found["gt_known_loc"].items()} == {
        "0.3": 1,
        "0.5": 1,
        "0.7": 0.5,
    }
    assert found["mean_iou"]["value"] == 0.75 and found["mean_iou"]["n"] == 2


@pytest.mark.parametrize("protocol", [CAM, CHOE], ids=["cam2016", "choe2020"])
def test_gaussian_finds_centred_boxes_of_any_size(protocol) -> None:
    for share in (0.1, 0.4, 0.9):
        sizes = np.array([[200, 100]])
        half = np.array([200, 100]) * share / 2
        box = np.array([[100 - half[0], 50 - half[1], 100 + half[0], 50 + half[1]]])
        found = scores(sizes, ragged([box]), protocol)["center_gaussian"]
        assert found["max_box_acc_v2"]["value"] == 1.0, share


def test_gaussian_at_the_fixed_threshold() -> None:
    # exp(-r^2 / (2 sigma^2)) > 0.2 inside a circle: a centred box of this share of the image.
    share = 2 * 0.25 * np.sqrt(-2 * np.log(0.2))
    box = 1000 * np.array([[0.5 - share / 2, 0.5 - share / 2, 0.5 + share / 2, 0.5 + share / 2]])
    found = scores(np.array([[1000, 1000]]), ragged([box]), CAM)["center_gaussian"]
    assert found["mean_iou"]["value"] > 0.98
    assert found["gt_known_loc"]["0.7"] == {"value": 1, "ci95": [1, 1], "n": 1}


@pytest.mark.parametrize("protocol", [CAM, CHOE], ids=["cam2016", "choe2020"])
def test_parts_change_nothing_and_random_boxes_follow_the_image_id(protocol) -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(50, 500, (40, 2))
    corners = np.sort(rng.uniform(0, 1, (40, 2, 2)), axis=1) * sizes[:, None]
    boxes = ragged(corners.reshape(40, 1, 4))
    boxes[7] = np.zeros((0, 4))
    whole = scores(sizes, boxes, protocol)
    assert whole == scores(sizes, boxes, protocol, parts=7)
    assert whole["random"] != scores(sizes, boxes, protocol, seed=1)["random"]
    assert whole["random"]["mean_iou"]["n"] == 39


def test_random_boxes_are_uniform_and_never_empty() -> None:
    blind = Baselines(CAM, 224, DELTAS)
    boxes = blind.random_boxes(np.arange(-1, 4000))
    assert (boxes[:, :2] < boxes[:, 2:]).all() and boxes.min() >= 0 and boxes.max() <= 224
    # The smaller and the larger of two uniform draws lie at a third and two thirds on average.
    np.testing.assert_allclose(boxes.mean(0) / 224, [1 / 3, 1 / 3, 2 / 3, 2 / 3], atol=0.02)
    # Neither the edges of one box nor the boxes of neighbouring images know of each other.
    assert abs(np.corrcoef(boxes[:, 0], boxes[:, 1])[0, 1]) < 0.05
    assert abs(np.corrcoef(boxes[:-1, 2], boxes[1:, 2])[0, 1]) < 0.05
    assert len(np.unique(boxes, axis=0)) > 3900


def test_no_ground_truth_no_scores() -> None:
    assert scores(np.array([[5, 5]]), ragged([np.zeros((0, 4))]), CAM) == {}
    assert scores(np.zeros((0, 2)), ragged([]), CAM) == {}


def test_the_zero_line_is_the_best_of_like_numbers() -> None:
    known = {"a": 0.4, "b": 0.6, "c": 0.5}
    found = {name: {"gt_known_loc": {"0.5": {"value": value}}} for name, value in known.items()}
    found["c"] |= {"max_box_acc": {"0.5": {"value": 0.9}}, "mean_iou": {"value": 0.1}}
    assert zero_line(found) == {
        "gt_known_loc": {"0.5": {"baseline": "b", "value": 0.6}},
        "mean_iou": {"baseline": "c", "value": 0.1},
        "max_box_acc": {"0.5": {"baseline": "c", "value": 0.9}},
    }
