"""Ground truth and predictions in the scoring frame."""

from __future__ import annotations

import numpy as np
import pytest

from stages.boxes.frame import scored_empty, scored_in_frame, scored_truth
from stages.boxes.iou import iou
from stages.boxes.protocols import get_protocol

CHOE = get_protocol("choe2020")


@pytest.mark.parametrize(
    ("inclusive", "shape", "frame"),
    [
        ((60, 27, 385, 331), (500, 335), (26, 18, 172, 221)),
        ((111, 108, 441, 193), (500, 375), (49, 64, 197, 115)),
        ((45, 49, 499, 162), (500, 375), (20, 29, 223, 96)),
    ],
)
def test_truncation_vectors_of_wsolevaluation(inclusive: tuple, shape: tuple, frame: tuple) -> None:
    half_open = np.add([inclusive], [0, 0, 1, 1])
    transform = np.array([[224 / shape[0], 224 / shape[1], 0, 0]])
    assert scored_truth(half_open, transform, CHOE, 224).tolist() == [list(frame)]


def test_truncation_is_exact_for_every_column_of_many_widths() -> None:
    for width in (*range(54, 700), 1023, 5005):
        x = np.arange(width)
        boxes = np.column_stack([x, x, x + 1, x + 1])
        transform = np.tile([224 / width, 224 / width, 0, 0], (width, 1))
        found = scored_truth(boxes, transform, CHOE, 224)[:, 0]
        np.testing.assert_array_equal(found, x * 224 // width)


def test_what_a_crop_cuts_off_is_clipped() -> None:
    transform = np.array([[0.5, 0.5, -20, 0]])
    continuous = get_protocol("choe2020", iou="continuous")
    boxes = np.array([[0, 0, 100, 50]], np.float32)
    assert scored_truth(boxes, transform, continuous, 32).tolist() == [[0, 0, 30, 25]]
    assert scored_truth(boxes, transform, CHOE, 32).tolist() == [[0, 0, 29, 24]]


def test_predictions_keep_the_exclusive_edge_within_the_frame() -> None:
    boxes = np.array([[0, 0, 5, 10], [9, 9, 10, 10]], np.float32)
    assert scored_in_frame(boxes, CHOE, 10).tolist() == [[0, 0, 5, 9], [9, 9, 9, 9]]
    assert scored_in_frame(boxes, get_protocol("choe2020", iou="continuous"), 10).tolist() == boxes.tolist()


@pytest.mark.parametrize(
    ("frame", "convention", "empty", "overlap"),
    [
        ("original", "continuous", "none", 0),
        ("original", "continuous", "origin", 1),
        ("resized", "continuous", "origin", 1),
        ("resized", "inclusive", "none", 0),
        ("resized", "inclusive", "origin", 1),
    ],
)
def test_empty_box_is_nothing_or_the_first_pixel(frame: str, convention: str, empty: str, overlap: float) -> None:
    protocol = get_protocol("cam2016", frame=frame, iou=convention, empty=empty)
    first_pixel = scored_truth(np.array([[0, 0, 1, 1]]), np.array([[1.0, 1, 0, 0]]), protocol, 8)
    assert iou(scored_empty(protocol), first_pixel[0], convention) == overlap
