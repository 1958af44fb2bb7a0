"""Predictors that look at no pixel."""

from __future__ import annotations

import gzip
from collections import defaultdict
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from stages.batch import Batch, ragged, take
from stages.boxes.components import Components
from stages.boxes.protocols import Protocol, get_protocol
from stages.boxes.threshold import Threshold
from stages.evaluate.baselines import SIGMA, Baselines, compute, zero_line
from stages.evaluate.blind_maps import FEW
from stages.evaluate.metrics.contract import Scoring
from stages.evaluate.metrics.counts import Counts, merge
from stages.evaluate.metrics.pixels import count
from stages.evaluate.pixels import Pixels
from stages.evaluate.stage import Evaluate
from stages.ingest import run_lengths as masks
from stages.ingest.geometry import FITS, fit_transforms

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


def images_of(sizes: np.ndarray, boxes: np.ndarray) -> Batch:
    """Rows of a manifest without masks, ids counting from 1, labels 0, 1, 0, 1."""
    return {
        "image_id": np.arange(len(sizes)) + 1,
        "label": np.arange(len(sizes)) % 2,
        "width": sizes[:, 0],
        "height": sizes[:, 1],
        "boxes": boxes,
        "masks": ragged([None] * len(sizes)),
        "ignore": ragged([None] * len(sizes)),
    }


def scores(
    sizes: np.ndarray, boxes: np.ndarray, protocol: Protocol, parts: int = 1, seed: int = 0, fit: str = "squash"
) -> dict:
    """All baselines of images that were counted in so many parts."""
    blind = Baselines(protocol, 224, DELTAS, seed, fit)
    rows = np.array_split(np.arange(len(sizes)), parts)
    found = (blind.update(take(images_of(sizes, boxes), own)) for own in rows)
    return compute(reduce(merge, found, Counts()), Scoring(protocol, DELTAS, seed))


@pytest.mark.slow
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
    assert 0.01 < random < 0.1  # Far below the others: it is not a zero line of its own.


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


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("protocol", [CAM, CHOE], ids=["cam2016", "choe2020"])
def test_the_gaussian_scores_as_a_method_with_its_map(protocol: Protocol, fit: str) -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(40, 300, (12, 2))
    counts = rng.permutation(np.arange(12) % FEW + np.arange(12) // 6 + 1)  # some more than are summed without pixels
    corners = [np.sort(rng.uniform(0, 1, (n, 2, 2)), axis=1) * side for n, side in zip(counts, sizes, strict=True)]
    images = images_of(sizes, ragged(one.reshape(-1, 4).astype(np.float32) for one in corners))
    for row in range(0, 12, 5):
        width, height = sizes[row]
        objects = [rng.random((height, width)) < 0.3 for _ in images["boxes"][row]]
        images["masks"][row] = [masks.encode(one) for one in objects]
    size = 48
    blind = Baselines(protocol, size, DELTAS, fit=fit, crop_ratio=0.75)
    found = blind.update(images).methods["center_gaussian"]
    offset = (np.arange(size) + 0.5) / size - 0.5
    bell = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * SIGMA**2)).astype(np.float32)
    batch = images | {
        "method": ragged(["cam"] * 12),
        "target_rank": np.zeros(12, np.int8),
        "class_index": images["label"],
        "map": ragged([bell] * 12),
        "map_scale": np.ones(12, np.float32),
        "transform": fit_transforms(*sizes.T, size, fit, 0.75),
    }
    for stage in (Threshold(protocol, size), Pixels(protocol, size), Components(protocol, size)):
        batch = stage(batch)
    batch = Evaluate(protocol, size, DELTAS)(batch)
    np.testing.assert_allclose(found["boxes"].ious, batch["iou"], atol=1e-6)
    np.testing.assert_array_equal(found["sweep"].hits, np.sum(list(batch["sweep_hits"]), axis=0))
    own, expected = found["pixels"], count(batch)
    assert own.pointing == expected.pointing and own.masks == 3
    np.testing.assert_allclose(own.energy, expected.energy, atol=1e-6)
    assert own.pixels.keys() == expected.pixels.keys()
    assert all(np.array_equal(own.pixels[group], counts) for group, counts in expected.pixels.items())


def test_whole_images_under_a_crop_are_held_against_what_the_crop_shows() -> None:
    # The middle 100 of 200 columns are seen; the object lies left of them but for 50 columns.
    sizes, boxes = np.array([[200, 100]]), ragged([np.array([[0, 0, 100, 100]])])
    squashed, cropped = (scores(sizes, boxes, CHOE, fit=fit)["full_image"] for fit in ("squash", "center_crop"))
    assert squashed["mean_iou"]["value"] == pytest.approx(0.5, abs=0.02)
    assert cropped["mean_iou"]["value"] == pytest.approx(0.5, abs=0.02)
    boxes[0][0, 2] = 75
    assert scores(sizes, boxes, CHOE, fit="center_crop")["full_image"]["mean_iou"]["value"] == pytest.approx(
        0.25, abs=0.02
    )
    assert scores(sizes, boxes, CAM, fit="center_crop")["full_image"]["mean_iou"]["value"] == 0.375


def test_maps_of_the_blind() -> None:
    sizes = np.array([[100, 100]] * 3)
    boxes = ragged(np.array([edges], float) for edges in ([0, 0, 50, 50], [40, 40, 60, 60], [0, 0, 20, 20]))
    found = scores(sizes, boxes, CAM)
    # Labels 0, 1, 0: the Gaussian points at the middle, within 15 pixels of the first object, too.
    assert found["center_gaussian"]["pointing_game"]["value"] == 0.75
    assert found["full_image"]["energy_pointing_game"]["value"] == pytest.approx((0.25 + 0.04 + 0.04) / 3, abs=0.005)
    assert found["center_gaussian"]["energy_pointing_game"]["value"] > 0.115
    assert "pointing_game" not in found["full_image"] and "energy_pointing_game" not in found["random"]
    assert zero_line(found)["pointing_game"] == {"baseline": "center_gaussian", "value": 0.75}
