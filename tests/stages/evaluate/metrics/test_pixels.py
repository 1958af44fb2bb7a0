"""Pointing game, energy and PxAP against pixel loops and published values."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
import pytest

from stages.batch import Batch, ragged, take
from stages.boxes.protocols import get_protocol
from stages.boxes.threshold import Threshold, heat
from stages.evaluate import pixels
from stages.evaluate.metrics.contract import Scoring
from stages.evaluate.metrics.pixels import PIXELS, PixelCounts, count, pixel_average_precision
from stages.evaluate.pixels import Pixels, bin_edges, pixel_counts
from stages.ingest import run_lengths as masks
from stages.ingest.geometry import fit_transform

CAM, CHOE = get_protocol("cam2016"), get_protocol("choe2020")
SCORING = Scoring(CAM, (0.5,))
SIZE = 56


def compute(counts: PixelCounts) -> dict:
    return PIXELS.compute(counts, SCORING)


def rows(seed: int, n: int = 24, fit: str = "squash") -> Batch:
    """Labels' maps of images with boxes; every third has masks, every sixth an ignored region, too."""
    rng = np.random.default_rng(seed)
    batch: Batch = {
        "image_id": np.arange(n),
        "target_rank": np.zeros(n, np.int8),
        "label": rng.integers(0, 4, n).astype(np.int32),
        "width": rng.integers(30, 150, n).astype(np.int32),
        "height": rng.integers(30, 150, n).astype(np.int32),
        "map": ragged(rng.normal(0, 1, (7, 7)).astype(np.float16) for _ in range(n)),
        "map_scale": np.ones(n, np.float32),
        "masks": ragged([None] * n),
        "ignore": ragged([None] * n),
    }
    sizes = np.column_stack([batch["width"], batch["height"]])
    corners = np.sort(rng.uniform(0, 1, (n, 2, 2)), axis=1) * sizes[:, None]
    boxes = np.concatenate([np.floor(corners[:, 0]), np.floor(corners[:, 1]) + 1], axis=1)
    batch["boxes"] = ragged(box[None].astype(np.float32) for box in boxes)
    batch["transform"] = np.stack([fit_transform(int(w), int(h), SIZE, fit, 0.875) for w, h in sizes])
    for row in range(0, n, 3):
        mask = rng.random(sizes[row][::-1]) < (0.02 if row % 2 else 0.0003)
        batch["masks"][row] = [masks.encode(mask), masks.encode(np.roll(mask, 3))]
        if row % 6 == 0:
            batch["ignore"][row] = masks.encode(rng.random(sizes[row][::-1]) < 0.3)
    return batch


def object_of(batch: Batch, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The object and the ignored region in displayed pixels, drawn one by one."""
    width, height = int(batch["width"][row]), int(batch["height"][row])
    inside, ignored = np.zeros((height, width), bool), np.zeros((height, width), bool)
    if batch["masks"][row] is None:
        for x0, y0, x1, y1 in batch["boxes"][row].astype(int):
            inside[y0:y1, x0:x1] = True
        return inside, ignored
    for part in batch["masks"][row]:
        inside |= masks.decode([part], width, height)
    if batch["ignore"][row] is not None:
        ignored = masks.decode([batch["ignore"][row]], width, height) & ~inside
    return inside, ignored


@pytest.mark.parametrize("fit", ["squash", "letterbox", "center_crop"])
@pytest.mark.parametrize("protocol", [CAM, CHOE], ids=["cam2016", "choe2020"])
def test_against_loops_over_pixels(protocol, fit: str) -> None:
    batch = Threshold(protocol, SIZE)(rows(1, fit=fit))
    found = Pixels(protocol, SIZE)(batch)
    seen = set()
    for row in range(len(batch["label"])):
        inside, ignored = object_of(batch, row)
        values = batch["heat"][row].astype(np.float64)
        sx, sy, tx, ty = batch["transform"][row]
        y, x = np.unravel_index(values.argmax(), values.shape)
        px, py = (x + 0.5 - tx) / sx, (y + 0.5 - ty) / sy
        hit = any((i + 0.5 - px) ** 2 + (j + 0.5 - py) ** 2 < 225 for j, i in zip(*np.nonzero(inside), strict=True))
        assert found["pointing"][row] == hit
        on, total, masked = 0.0, 0.0, batch["masks"][row] is not None
        for j in range(SIZE):
            for i in range(SIZE):
                offset = 0 if masked else 0.5
                u, v = (int(np.floor(one)) for one in ((i + offset - tx) * (1 / sx), (j + offset - ty) * (1 / sy)))
                there = 0 <= u < inside.shape[1] and 0 <= v < inside.shape[0]
                if there and ignored[v, u]:
                    continue
                total += max(values[j, i], 0)
                on += max(values[j, i], 0) * (there and inside[v, u])
        assert found["energy"][row] == pytest.approx(on / total, abs=1e-5)
        assert (found["pixel_counts"][row] is not None) == masked
        seen.add((hit, masked))
    assert len(seen) >= 3


@pytest.mark.parametrize(("width", "height"), [(500, 375), (333, 500), (224, 224), (72, 102), (1024, 683)])
def test_masks_are_sampled_as_opencv_does(width: int, height: int) -> None:
    mask = np.random.default_rng(0).random((height, width)) < 0.5
    batch = rows(0, 1) | {"width": np.array([width]), "height": np.array([height])}
    batch["masks"][0], batch["ignore"][0] = [masks.encode(mask)], None
    transform = fit_transform(width, height, 224, "squash", 1.0)
    inside, _ = pixels.Truth(batch, 0).in_frame(transform, 224)
    expected = cv2.resize(mask.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(inside, expected.astype(bool))


def histogram_pxap(scores: np.ndarray, truth: np.ndarray, interval: float) -> float:
    """The definition in words of numpy: histograms per class, cumulated from the highest score."""
    edges = np.append(np.arange(0, 1, interval), [1.0, 2.0, 3.0])
    positive = np.histogram(scores[truth == 1], edges)[0][::-1].cumsum()
    negative = np.histogram(scores[truth == 0], edges)[0][::-1].cumsum()
    total, area, before = positive[-1], 0.0, 0.0
    for one, other in zip(positive, negative, strict=True):
        if one + other:
            area += one / (one + other) * (one / total - before)
            before = one / total
    return area


@pytest.mark.parametrize("protocol", [CAM, CHOE], ids=["cam2016", "choe2020"])
def test_pxap_pools_pixels_as_the_definition_says(protocol) -> None:
    batch = Threshold(protocol, SIZE)(rows(2))
    found = Pixels(protocol, SIZE)(batch)
    scores, truth = [], []
    for row in range(0, 24, 3):
        inside, ignored = object_of(batch, row)
        resized = [cv2.resize(one.astype(np.uint8), (SIZE, SIZE), interpolation=0) for one in (inside, ignored)]
        exact = get_protocol(protocol.name, quantize="none")
        scores.append(np.maximum(heat(batch["map"][row], exact, SIZE), 0).reshape(-1))
        truth.append(np.where(resized[1] > 0, 255, resized[0]).reshape(-1))
    expected = histogram_pxap(np.concatenate(scores), np.concatenate(truth), protocol.sweep_interval)
    metrics = compute(count(found))
    low, high = metrics["pxap"].pop("ci95")
    assert metrics["pxap"] == {"value": pytest.approx(expected, abs=1e-6), "n": 8} and low < expected < high


@pytest.mark.slow
def test_pxaps_interval_covers_what_images_of_the_same_kind_give() -> None:
    rng = np.random.default_rng(0)
    edges = bin_edges(CAM)

    def counted(images: int) -> PixelCounts:
        """Objects of an eighth of the map on which scores are higher, in some images more than in others."""
        inside = np.arange(256) < 32
        gains = rng.uniform(0, 0.4, images)
        scores = [np.clip(rng.uniform(0, 0.6, 256) + gain * inside, 0, 1) for gain in gains]
        found = {"image_id": rng.permutation(images), "label": np.zeros(images, int)}
        found |= {"pointing": np.ones(images), "energy": np.ones(images, np.float32)}
        return count(found | {"pixel_counts": ragged(pixel_counts(one, inside, None, edges) for one in scores)})

    found = [compute(counted(300))["pxap"] for _ in range(40)]
    values = [one["value"] for one in found]
    half = [(one["ci95"][1] - one["ci95"][0]) / 2 for one in found]
    assert np.mean(half) == pytest.approx(1.96 * np.std(values), rel=0.3)


@pytest.mark.parametrize(
    ("positives", "negatives", "percent"), [(43031, 7145, 85.7601), (833, 49342, 1.6602), (347, 13909, 2.4339)]
)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_maps_give_the_published_share_and_perfect_ones_all(positives, negatives, percent, value) -> None:
    inside = np.arange(positives + negatives + 77) < positives
    ignored = np.arange(len(inside)) >= positives + negatives
    edges = bin_edges(CHOE)
    constant = pixel_counts(np.full(len(inside), value), inside, ignored, edges)
    share = positives / (positives + negatives)
    assert pixel_average_precision(constant) == pytest.approx(share, abs=1e-12)
    assert 100 * share == pytest.approx(percent, abs=2e-4)  # as published, rounded
    assert pixel_average_precision(pixel_counts(inside.astype(float), inside, ignored, edges)) == 1.0
    everything = pixel_counts(np.random.default_rng(0).random(len(inside)), inside | True, None, edges)
    assert pixel_average_precision(everything) == pytest.approx(1.0)


def test_without_a_pixel_of_an_object_pxap_is_absent() -> None:
    batch = Threshold(CAM, SIZE)(rows(3))
    for row in range(0, 24, 3):
        batch["masks"][row] = [masks.encode(np.zeros((batch["height"][row], batch["width"][row]), bool))]
    metrics = compute(count(Pixels(CAM, SIZE)(batch)))
    assert "pxap" not in metrics and metrics["pointing_game"]["n"] == 24


def test_maps_without_a_maximum_miss_and_unscored_rows_have_no_values() -> None:
    batch = rows(4, 6)
    batch["map"] = ragged(np.full((7, 7), value, np.float16) for value in (0, 1, np.nan, -1, 1, 1))
    batch["boxes"] = ragged(np.array([[0, 0, w, h]]) for w, h in zip(batch["width"], batch["height"], strict=True))
    batch["boxes"][4] = np.zeros((0, 4))
    batch["target_rank"][5] = 1
    found = Pixels(CAM, SIZE)(Threshold(CAM, SIZE)(batch))
    np.testing.assert_array_equal(found["pointing"], [0, 0, 0, 0, np.nan, np.nan])
    assert np.isnan(found["energy"][4:]).all() and not np.isnan(found["energy"][:4]).any()
    assert found["energy"][1] == pytest.approx(1.0)  # a constant map has its energy everywhere


def test_parts_in_any_order_and_through_text_give_the_same() -> None:
    found = Pixels(CHOE, SIZE)(Threshold(CHOE, SIZE)(rows(5)))
    whole = compute(count(found))
    parts = [count(take(found, found["image_id"] % 4 == one)) for one in (2, 0, 3, 1)]
    parts = [PIXELS.from_plain(PIXELS.to_plain(one)) for one in parts]
    assert compute(reduce(PIXELS.merge, parts, PixelCounts())) == whole and set(whole) == {
        "pointing_game",
        "energy_pointing_game",
        "pxap",
    }
    by_class = whole["pointing_game"]["class"]
    expected = np.mean([found["pointing"][found["label"] == one].mean() for one in by_class["class_index"]])
    assert whole["pointing_game"]["value"] == pytest.approx(expected, abs=1e-6)
    assert compute(PixelCounts()) == {}
