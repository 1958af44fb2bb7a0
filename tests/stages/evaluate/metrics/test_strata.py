"""Strata and losses against one image at a time, by the definitions."""

from __future__ import annotations

import json
from functools import reduce

import numpy as np
import pytest

from stages.batch import Batch, ragged, take
from stages.boxes.iou import at_least
from stages.boxes.protocols import get_protocol
from stages.evaluate.metrics import losses, strata
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.metrics.losses import LOSSES
from stages.evaluate.metrics.strata import STRATA

DELTAS = (0.3, 0.5, 0.7)
SCORING = Scoring(get_protocol("cam2016"), DELTAS)


def in_parts(counter: Counter, rows: Batch, scoring: Scoring = SCORING) -> dict:
    """What a counter makes of rows that were counted in three parts, one of them empty, and sent as text."""
    parts = [counter.update(take(rows, part)) for part in (slice(0, 17), slice(17, 17), slice(17, None))]
    parts = [counter.from_plain(json.loads(json.dumps(counter.to_plain(part)))) for part in parts]
    return counter.compute(reduce(counter.merge, parts), scoring)


def images(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Labels, sizes and boxes; some boxes reach the border, some are nearly the whole image."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(40, 200, (n, 2))
    boxes = []
    for size in sizes:
        corners = np.sort(rng.uniform(-0.1, 1.1, (rng.integers(1, 5), 2, 2)), axis=1) * size
        boxes.append(np.clip(np.round(corners), 0, size).reshape(-1, 4) + np.array([0, 0, 1e-3, 1e-3]))
    return rng.integers(0, 7, n), sizes, [np.minimum(one, np.tile(s, 2)) for one, s in zip(boxes, sizes, strict=True)]


def names_of(size: np.ndarray, boxes: np.ndarray) -> dict[str, str]:
    width, height = size
    share = max((x1 - x0) * (y1 - y0) / (width * height) for x0, y0, x1, y1 in boxes)
    touching = any(x0 <= 0 or y0 <= 0 or x1 >= width or y1 >= height for x0, y0, x1, y1 in boxes)
    return {
        "size": "small" if share < 0.1 else "medium" if share < 0.4 else "large",
        "objects": {1: "1", 2: "2"}.get(len(boxes), "3+"),
        "border": "touching" if touching else "free",
    }


@pytest.mark.parametrize("seed", range(3))
def test_strata_are_those_of_a_loop(seed: int) -> None:
    labels, sizes, boxes = images(seed)
    ious = np.random.default_rng(seed + 10).uniform(0, 1, len(labels)).astype(np.float32)
    rows = {
        "target_rank": np.zeros(len(labels), np.int8),
        "label": labels,
        "width": sizes[:, 0],
        "height": sizes[:, 1],
        "boxes": ragged(boxes),
        "iou": ious,
        "hits": at_least(ious, DELTAS).T,
    }
    found = in_parts(STRATA, rows)
    expected: dict[tuple[str, str], list[float]] = {}
    for size, own, iou in zip(sizes, boxes, ious, strict=True):
        for kind, name in names_of(size, own).items():
            expected.setdefault((kind, name), []).append(iou)
    for kind in ("size", "objects", "border"):
        assert set(found["strata"][kind]) == {name for other, name in expected if other == kind}
        for name, levels in found["strata"][kind].items():
            for delta in DELTAS:
                right = np.array(expected[kind, name]) >= np.float32(delta)
                assert levels[f"{delta:g}"]["n"] == len(right)
                assert levels[f"{delta:g}"]["value"] == pytest.approx(right.mean(), abs=1e-6)
    by_class = found["strata"]["class"]
    assert by_class["class_index"] == sorted(set(labels.tolist()))
    assert by_class["n"] == [int((labels == label).sum()) for label in by_class["class_index"]]
    accuracy = [(ious[labels == label] >= np.float32(0.5)).mean() for label in sorted(set(labels.tolist()))]
    corloc = found["corloc"]["0.5"]
    assert corloc["value"] == pytest.approx(np.mean(accuracy), abs=1e-6) and corloc["n"] == 60


def test_the_interval_of_corloc_is_that_of_resampled_images() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(5), [30, 3, 12, 1, 24])
    right = rng.random(70) < 0.2 + 0.15 * labels
    boxes = [np.array([[1.0, 1, 5, 5]])] * 70
    counts = strata.count(labels, np.full((70, 2), 9), boxes, right[:, None])
    found = STRATA.compute(counts, Scoring(SCORING.protocol, (0.5,)))["corloc"]["0.5"]
    often = rng.multinomial(70, np.full(70, 1 / 70), 20_000)  # how often each resample has each image
    total = np.stack([often[:, labels == one].sum(1) for one in range(5)])
    hits = np.stack([often[:, (labels == one) & right].sum(1) for one in range(5)])
    means = np.nanmean(np.where(total > 0, hits / np.maximum(total, 1), np.nan), axis=0)
    np.testing.assert_allclose(found["ci95"], np.percentile(means, [2.5, 97.5]), atol=0.02)


@pytest.mark.parametrize("counter", [STRATA, LOSSES], ids=["strata", "losses"])
def test_an_image_without_a_box_of_its_label_is_not_counted(counter: Counter) -> None:
    """Whatever overlap its row claims."""
    box = np.array([[0, 0, 10, 10]], np.float32)
    rows: Batch = {
        "image_id": np.array([1, 2]),
        "target_rank": np.zeros(2, np.int8),
        "class_index": np.zeros(2, np.int32),
        "label": np.zeros(2, np.int32),
        "iou": np.ones(2, np.float32),
        "hits": np.ones((2, 3), bool),
        "box": np.repeat(box, 2, axis=0),
        "boxes": ragged([box, box[:0]]),
        "width": np.full(2, 20),
        "height": np.full(2, 20),
    }
    both, first = (counter.compute(counter.update(one), SCORING) for one in (rows, take(rows, slice(1))))
    assert both == first != {}


def test_nothing_counted_nothing_computed() -> None:
    nothing = np.zeros((0, 3), bool)
    assert STRATA.compute(strata.count(np.zeros(0, int), np.zeros((0, 2)), [], nothing), SCORING) == {}
    assert LOSSES.compute(losses.count(None, np.zeros((0, 4)), [], nothing), SCORING) == {}


def kind_of(box: np.ndarray, truth: np.ndarray) -> str:
    """The kind of error by counting pixels of whole-numbered boxes."""
    canvas = np.zeros((len(truth), 64, 64), bool)
    for plane, (x0, y0, x1, y1) in zip(canvas, truth.astype(int), strict=True):
        plane[y0:y1, x0:x1] = True
    own = np.zeros((64, 64), bool)
    own[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    shared = (canvas & own).sum((1, 2))
    if ((shared / canvas.sum((1, 2))) > 0.3).sum() >= 2:
        return "several_objects"
    best = int(np.argmax(shared / (canvas | own).sum((1, 2))))
    if own.any() and shared[best] / own.sum() > 0.5:
        return "part"
    return "too_large" if shared[best] / canvas[best].sum() >= 0.7 else "elsewhere"


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some_boxes(n: int) -> np.ndarray:
        return np.sort(rng.integers(0, 64, (n, 2, 2)), axis=1).reshape(n, 4) + np.array([0, 0, 1, 1])

    truth = [some_boxes(int(rng.integers(1, 4))) for _ in range(900)]
    boxes, right, ious = some_boxes(900), rng.random(900) < 0.7, rng.uniform(0, 1, 900).astype(np.float32)
    boxes[::50] = 0  # empty maps have no box
    rows = {
        "target_rank": np.ones(900, np.int8),
        "class_index": right.astype(int),
        "label": np.ones(900, int),
        "box": boxes,
        "boxes": ragged(truth),
        "iou": ious,
        "hits": at_least(ious, DELTAS).T,
    }
    found = in_parts(LOSSES, rows, Scoring(SCORING.protocol, DELTAS, boxed=910))["losses"]
    assert (found["images"], found["decoded"], found["classified"]) == (910, 900, int(right.sum()))
    for delta in DELTAS:
        level, errors = f"{delta:g}", dict.fromkeys(losses.KINDS, 0)
        for known, box, own, iou in zip(right, boxes, truth, ious, strict=True):
            if not known:
                errors["wrong_class"] += 1
            elif iou < np.float32(delta):
                errors[kind_of(box, own)] += 1
        assert found["errors"][level] == errors
        assert delta < 0.7 or min(errors.values()) > 0  # every kind occurs
        assert found["localized"][level] + sum(errors.values()) == 900


def test_without_predictions_no_class_is_wrong() -> None:
    one = losses.count(None, np.array([[0, 0, 4, 4]]), [np.array([[0, 0, 8, 8]])], np.array([[False]]))
    found = LOSSES.compute(one, Scoring(SCORING.protocol, (0.5,)))["losses"]
    assert "classified" not in found and found["errors"]["0.5"]["part"] == 1
