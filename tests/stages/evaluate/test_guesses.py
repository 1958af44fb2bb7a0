"""The first k predictions of an image, against a loop over images."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate.guesses import DECIDING, best_of_first, overlaps


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("kind", ["shares", "levels"])
def test_the_best_of_the_first_k_is_that_of_a_loop(k: int, kind: str) -> None:
    rng = np.random.default_rng(k)
    images = rng.permutation(40)
    ids = np.concatenate([[image] * int(rng.integers(1, 7)) for image in images])
    rank = np.concatenate([np.arange((ids == image).sum()) for image in images])  # the label's row first
    values = rng.random(len(ids)) if kind == "shares" else rng.random((len(ids), 3)) < 0.3
    found, best = best_of_first(k, ids, rank, values)
    expected = {
        image: values[(ids == image) & (rank >= 1) & (rank <= k)].max(0)
        for image in sorted(images)
        if (rank[ids == image] == k).any()
    }
    assert found.tolist() == list(expected) and 0 < len(found) < 40
    np.testing.assert_array_equal(best, np.stack(list(expected.values())))
    assert best.dtype == values.dtype


def test_without_k_predictions_nothing_is_counted() -> None:
    ids, best = best_of_first(5, np.array([1, 1]), np.array([0, 1]), np.zeros((2, 3), bool))
    assert len(ids) == 0 and best.shape == (0, 3) and best.dtype == bool


def test_overlaps_know_wrong_classes_and_images_without_ground_truth() -> None:
    rows = {
        "image_id": np.repeat([4, 8], 6),
        "target_rank": np.tile(np.arange(6), 2),
        "class_index": np.array([3, 1, 3, 0, 2, 4, 3, 3, 0, 1, 2, 4]),
        "label": np.full(12, 3),
        "iou": np.array([0.7, 0.9, 0.6, 0.9, 0.9, 0.9, *[np.nan] * 6], np.float32),
    }
    found = overlaps(rows)
    assert tuple(found) == DECIDING
    assert all(ids.tolist() == [4, 8] for ids, _ in found.values())
    values = [values for _, values in found.values()]
    np.testing.assert_array_equal(values, np.array([[0.7, np.nan], [-1, np.nan], [0.6, np.nan]], np.float32))
