"""From maps to hits, against a separate computation under both families of rules."""

from __future__ import annotations

import cv2
import numpy as np

from stages.batch import Batch, concat, ragged
from stages.boxes.components import Components
from stages.boxes.protocols import Protocol, get_protocol
from stages.boxes.threshold import Threshold
from stages.evaluate.stage import Evaluate

DELTAS = (0.3, 0.5, 0.7)
SIZE = 48


def batch_of(rng: np.random.Generator, images: int, largest: float) -> Batch:
    """Random maps, sizes and integer ground truth; the last image has none."""
    widths, heights = rng.integers(60, 200, (2, images))
    boxes = []
    for width, height in zip(widths, heights, strict=True):
        x = np.sort(rng.integers(0, width + 1, (rng.integers(1, 4), 2)), axis=1)
        y = np.sort(rng.integers(0, height + 1, (len(x), 2)), axis=1)
        box = np.column_stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]]).astype(np.float32)
        box[:, 2:] = np.maximum(box[:, 2:], box[:, :2] + 1)
        box[:, :2] = np.minimum(box[:, :2], box[:, 2:] - 1)
        box[:, :2] = np.maximum(box[:, :2], 0)
        boxes.append(box)
    boxes[-1] = np.zeros((0, 4), np.float32)
    maps = [rng.uniform(-0.3, largest, (5, 5)).astype(np.float16) for _ in range(images)]
    maps[0][:] = 0
    return {
        "image_id": np.arange(images),
        "method": ragged(["cam"] * images),
        "target_rank": np.zeros(images, np.int8),
        "class_index": np.zeros(images, np.int32),
        "label": np.zeros(images, np.int32),
        "boxes": ragged(boxes),
        "map": ragged(maps),
        "map_scale": np.ones(images, np.float32),
        "transform": np.column_stack([SIZE / widths, SIZE / heights, np.zeros((images, 2))]),
        "width": widths.astype(np.int32),
        "height": heights.astype(np.int32),
    }


def scored(batch: Batch, protocol: Protocol) -> Batch:
    for stage in (
        Threshold(protocol, SIZE),
        Components(protocol, SIZE),
        Evaluate(protocol, SIZE, DELTAS),
    ):
        batch = stage(batch)
    return batch


def inclusive_overlap(a: tuple, b: tuple) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - shared)


def wsolevaluation(map: np.ndarray, threshold: float) -> list[tuple]:
    """All boxes of a map as the published protocol describes them, the largest contour's first."""
    values = cv2.resize(map.astype(np.float64), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    values = values - values.min()
    values = (values / values.max() * 255).astype(np.uint8) if values.max() > 0 else values.astype(np.uint8)
    _, binary = cv2.threshold(values, int(threshold * values.max()), 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 0, 0)]
    boxes = []
    for contour in [max(contours, key=cv2.contourArea), *contours]:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append((x, y, min(x + w, SIZE - 1), min(y + h, SIZE - 1)))
    return boxes


def test_choe2020_equals_a_plain_reading_of_its_rules() -> None:
    protocol = get_protocol("choe2020", sweep_interval=0.01)
    batch = batch_of(np.random.default_rng(3), 12, 1.0)
    found = scored(batch, protocol)
    for image in range(11):
        width, height = int(batch["width"][image]), int(batch["height"][image])
        truth = [
            (
                int(x0 * SIZE / width),
                int(y0 * SIZE / height),
                int((x1 - 1) * SIZE / width),
                int((y1 - 1) * SIZE / height),
            )
            for x0, y0, x1, y1 in batch["boxes"][image].tolist()
        ]
        map = batch["map"][image]
        fixed = max(inclusive_overlap(wsolevaluation(map, 0.2)[0], box) for box in truth)
        assert found["iou"][image] == np.float32(fixed)
        for column, threshold in enumerate(protocol.sweep_thresholds()):
            boxes = wsolevaluation(map, threshold)
            one = max(inclusive_overlap(boxes[0], box) for box in truth)
            any_box = max(inclusive_overlap(box, other) for box in boxes for other in truth)
            assert found["sweep_hits"][image][:, column].tolist() == [one >= delta for delta in DELTAS]
            assert found["sweep_hits_v2"][image][:, column].tolist() == [any_box >= delta for delta in DELTAS]
    assert np.isnan(found["iou"][11]) and found["sweep_hits"][11] is None


def test_cam2016_equals_painted_pixels_in_the_original_image() -> None:
    protocol = get_protocol("cam2016", sweep_interval=0.1)
    batch = batch_of(np.random.default_rng(4), 8, 1.0)
    found = scored(batch, protocol)
    for image in range(7):
        x0, y0, x1, y1 = found["box"][image].astype(float)
        best = 0.0
        for a0, b0, a1, b1 in batch["boxes"][image].tolist():
            shared = max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
            best = max(best, shared / ((x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - shared))
        assert found["iou"][image] == np.float32(best)
        assert found["hits"][image].tolist() == [best >= delta for delta in DELTAS]
        # The sweep at the fixed threshold is the fixed box.
        assert found["sweep_hits"][image][:, 2].tolist() == found["hits"][image].tolist()
        assert found["sweep_hits_v2"][image] is None
    assert found["iou"][0] == 0 and not found["hits"][0].any()
    assert not found["hits"][7].any()
    assert {"scored_box", "sweep_box", "sweep_all"}.isdisjoint(found)


def test_rows_do_not_depend_on_their_batch() -> None:
    for name in ("cam2016", "choe2020"):
        protocol = get_protocol(name, sweep_interval=0.05)
        batch = batch_of(np.random.default_rng(5), 6, 1.0)
        whole = scored(batch, protocol)
        parts = concat([scored({key: column[i : i + 2] for key, column in batch.items()}, protocol) for i in (0, 2, 4)])
        for key in ("box", "iou", "hits"):
            np.testing.assert_array_equal(whole[key], parts[key])
        for one, other in zip(whole["sweep_hits"], parts["sweep_hits"], strict=True):
            np.testing.assert_array_equal(one, other)


def test_tscam2021_equals_a_plain_reading_of_its_rules() -> None:
    protocol = get_protocol("tscam2021")
    batch = batch_of(np.random.default_rng(6), 12, 1.0)
    batch["target_rank"][1::2] = 1
    batch["map"][2][:] = np.nan
    found = scored(batch, protocol)
    for image in range(11):
        values = cv2.resize(batch["map"][image].astype(np.float64), (SIZE, SIZE))
        box: tuple = (0, 0, 1, 1)
        if image not in (0, 2):
            levels = ((values - values.min()) / (values.max() - values.min()) * 255).astype(np.uint8)
            _, kept = cv2.threshold(levels, int(0.12 * levels.max()), 255, cv2.THRESH_TOZERO)
            contours, _ = cv2.findContours(kept, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
            box = (x, y, x + w, y + h)
        scale = np.array([SIZE / batch["width"][image], SIZE / batch["height"][image]] * 2)
        truth = np.floor((batch["boxes"][image] - [0, 0, 1, 1]) * scale + 1e-9)
        best = max(inclusive_overlap(box, tuple(one)) for one in truth.tolist())
        assert found["iou"][image] == np.float32(best)
        assert found["hits"][image].tolist() == [best >= delta for delta in DELTAS]


def test_top_k_may_need_more_than_the_level() -> None:
    batch = batch_of(np.random.default_rng(7), 3, 1.0)
    half = np.full((5, 5), 0.0, np.float16)
    half[:, :3] = 1
    for image in range(2):
        batch["map"][image] = half
        batch["target_rank"][image] = image
    for comparators, hits in (((">=", ">"), [True, False]), ((">", ">="), [False, True])):
        names = "iou_comparator", "topk_iou_comparator"
        protocol = get_protocol("cam2016", **dict(zip(names, comparators, strict=True)))
        placed = Components(protocol, SIZE)(Threshold(protocol, SIZE)(batch))
        # Ground truth of exactly twice the box.
        for image in range(2):
            x0, y0, x1, y1 = placed["scored_box"][image]
            placed["boxes"][image] = np.array([[x0, y0, 2 * x1 - x0, y1]], np.float32)
        assert Evaluate(protocol, SIZE, (0.5,))(placed)["hits"][:2, 0].tolist() == hits


def test_layercam2021_takes_exclusive_edges_for_corners_in_the_original_image() -> None:
    protocol = get_protocol("layercam2021")
    batch = batch_of(np.random.default_rng(8), 6, 1.0)
    found = scored(batch, protocol)
    for image in range(1, 5):
        box = tuple(found["box"][image].astype(float))
        truth = [(x0, y0, x1 - 1, y1 - 1) for x0, y0, x1, y1 in batch["boxes"][image].tolist()]
        assert found["iou"][image] == np.float32(max(inclusive_overlap(box, one) for one in truth))
    assert found["box"][0].tolist() == [0, 0, 0, 0]
    empty = [(x0, y0, x1 - 1, y1 - 1) for x0, y0, x1, y1 in batch["boxes"][0].tolist()]
    assert found["iou"][0] == np.float32(max(inclusive_overlap((0, 0, 1, 1), one) for one in empty))


def test_clsloc_overlap_is_the_devkits_between_inclusive_corners() -> None:
    batch = batch_of(np.random.default_rng(9), 8, 1.0)
    found = scored(batch, get_protocol("ilsvrc-clsloc"))
    for image in range(1, 7):
        x0, y0, x1, y1 = found["box"][image].astype(float)
        truth = [(a, b, c - 1, d - 1) for a, b, c, d in batch["boxes"][image].tolist()]
        best = max(inclusive_overlap((x0, y0, x1 - 1, y1 - 1), one) for one in truth)
        np.testing.assert_allclose(found["iou"][image], best, rtol=1e-6)


def test_excluded_images_are_scored_like_those_without_ground_truth() -> None:
    protocol = get_protocol("cam2016")
    batch = batch_of(np.random.default_rng(10), 5, 1.0)
    whole = scored(batch, protocol)
    placed = Components(protocol, SIZE)(Threshold(protocol, SIZE)(batch))
    found = Evaluate(protocol, SIZE, DELTAS, np.array([1, 3]))(placed)
    assert np.isnan(found["iou"]).tolist() == [False, True, False, True, True]
    assert [hits is None for hits in found["sweep_hits"]] == [False, True, False, True, True]
    np.testing.assert_array_equal(found["iou"][[0, 2]], whole["iou"][[0, 2]])
    assert len(batch["boxes"][1])
