"""Overlap of boxes under both conventions."""

from __future__ import annotations

import numpy as np
import pytest

from stages.boxes.iou import at_least, best_iou, iou


def pairs(first: list, second: list, convention: str) -> np.ndarray:
    return iou(np.array(first)[:, None], np.array(second)[None], convention)


def test_inclusive_vectors_of_wsolevaluation() -> None:
    assert (iou(np.zeros((3, 1, 4)), np.zeros((1, 5, 4)), "inclusive") == 1).all()
    boxes = [[1, 1, 3, 3], [4, 4, 5, 5]]
    np.testing.assert_array_equal(pairs(boxes, boxes, "inclusive"), np.eye(2))
    assert pairs([[1, 2, 5, 6]], [[3, 1, 4, 5]], "inclusive") == pytest.approx(8 / 27)
    assert pairs([[2, 2, 5, 5]], [[2, 2, 4, 4]], "inclusive") == 0.5625
    assert pairs([[0, 0, 9, 9]], [[0, 0, 9, 19]], "inclusive") == 0.5


def test_half_open_equals_inclusive_of_whole_pixels() -> None:
    corners = np.sort(np.random.default_rng(0).integers(0, 30, (200, 2, 2)), axis=1).reshape(-1, 4)
    half_open = np.add(corners, [0, 0, 1, 1])
    np.testing.assert_array_equal(iou(half_open[:100], half_open[100:]), iou(corners[:100], corners[100:], "inclusive"))


def test_continuous_counts_painted_pixels() -> None:
    rng = np.random.default_rng(1)
    for first, second in np.sort(rng.integers(0, 12, (50, 2, 2, 2)), axis=2).reshape(50, 2, 4):
        painted = np.zeros((2, 12, 12), bool)
        for canvas, (x0, y0, x1, y1) in zip(painted, (first, second), strict=True):
            canvas[y0:y1, x0:x1] = True
        union = painted.any(0).sum()
        assert iou(first, second) == pytest.approx(painted.all(0).sum() / union if union else 0)


def test_boxes_without_area_overlap_nothing() -> None:
    assert iou(np.zeros(4), np.zeros(4)) == 0
    assert iou(np.array([3, 3, 3, 3]), np.array([0, 0, 9, 9])) == 0
    assert iou(np.array([0, 0, -1, -1]), np.array([0, 0, 0, 0]), "inclusive") == 0


def test_best_of_each_rows_own_truth() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 4, 4], [5, 5, 6, 6], [0, 0, 1, 1]], np.float32)
    truth = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 4, 2], [0, 0, 2, 1]])
    best = best_iou(boxes, truth, np.array([2, 1, 0, 1]), "continuous")
    np.testing.assert_array_equal(best, [1, 0.5, np.nan, 0.5])
    assert np.isnan(best_iou(boxes, np.zeros((0, 4)), np.zeros(4, int), "continuous")).all()


def test_levels_are_reached_from_equality_on_in_both_precisions() -> None:
    overlaps = np.array([0.7, np.nan, 0.69999])
    for values in (overlaps, overlaps.astype(np.float32)):
        assert at_least(values, (0.5, 0.7)).tolist() == [[True, False, True], [True, False, False]]
