"""Predictors that look at no pixel."""

from __future__ import annotations

import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from stages.batch import ragged
from stages.evaluate.baselines import center_gaussian, full_image
from stages.evaluate.protocols import get_protocol

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


def test_full_image_on_imagenet_val(imagenet_val: tuple[np.ndarray, np.ndarray]) -> None:
    found = full_image(*imagenet_val, CHOE, 224, DELTAS)["gt_known_loc"]
    assert [found[delta]["n"] for delta in found] == [50_000] * 3
    assert [round(found[delta]["value"] * 50_000) for delta in found] == [31_530, 20_554, 11_297]
    original = full_image(*imagenet_val, CAM, 224, DELTAS)["gt_known_loc"]
    assert original["0.5"]["value"] == 0.40702


def test_centred_gaussian_on_imagenet_val(imagenet_val: tuple[np.ndarray, np.ndarray]) -> None:
    found = center_gaussian(*imagenet_val, CHOE, 224, DELTAS)
    best = [round(100 * entry["value"], 2) for entry in found["max_box_acc"].values()]
    np.testing.assert_allclose(best, [76.81, 54.06, 29.28], atol=0.011)
    assert found["max_box_acc_v2"]["value"] == pytest.approx(0.5339, abs=1e-4)


def test_full_image_by_hand() -> None:
    sizes = np.array([[10, 10], [20, 10], [8, 8]])
    boxes = ragged([np.array([[0, 0, 10, 4], [0, 0, 5, 10]]), np.array([[0, 0, 20, 10]]), np.zeros((0, 4))])
    found = full_image(sizes, boxes, CAM, 224, DELTAS)
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
        found = center_gaussian(sizes, ragged([box]), protocol, 224, (0.3, 0.5, 0.7))
        assert found["max_box_acc_v2"]["value"] == 1.0, share


def test_no_ground_truth_no_scores() -> None:
    sizes, none = np.array([[5, 5]]), ragged([np.zeros((0, 4))])
    assert full_image(sizes, none, CAM, 224, DELTAS) == {}
    assert center_gaussian(sizes, none, CAM, 224, DELTAS) == {}
    assert full_image(np.zeros((0, 2)), ragged([]), CAM, 224, DELTAS) == {}
