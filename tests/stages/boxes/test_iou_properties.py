"""Overlap of whole-pixel boxes equals counting painted pixels, whatever the boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.boxes.iou import best_iou, iou

SIDE = 16
BOX = st.tuples(*[st.integers(0, SIDE - 1)] * 4).map(
    lambda one: (min(one[0], one[2]), min(one[1], one[3]), max(one[0], one[2]), max(one[1], one[3]))
)


def painted(box: tuple[int, ...], edge: int) -> np.ndarray:
    canvas = np.zeros((SIDE, SIDE), bool)
    canvas[box[1] : box[3] + edge, box[0] : box[2] + edge] = True
    return canvas


def share(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return (a & b).sum() / union if union else 0.0


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(first=BOX, second=BOX)
def test_both_conventions_count_pixels(first: tuple, second: tuple) -> None:
    for convention, edge in (("continuous", 0), ("inclusive", 1)):
        expected = share(painted(first, edge), painted(second, edge))
        assert iou(np.array(first), np.array(second), convention) == expected
        assert iou(np.array(second), np.array(first), convention) == expected


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(box=BOX, others=st.lists(BOX, max_size=4))
def test_the_best_of_several_is_the_largest(box: tuple, others: list) -> None:
    truth = np.array(others, float).reshape(-1, 4)
    found = best_iou(np.array([box], float), truth, np.array([len(others)]), "inclusive")[0]
    shares = [share(painted(box, 1), painted(other, 1)) for other in others]
    assert np.isnan(found) if not shares else found == max(shares)
