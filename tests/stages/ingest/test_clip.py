from __future__ import annotations

import numpy as np

from stages.ingest.clip import clip_boxes


def test_bad_boxes_are_left_out_and_the_rest_is_clipped() -> None:
    boxes = [[-5, 2, 8, 30], [6, 2, 3, 9], [20, 0, 25, 5], [4, 4, 4, 9], [25, 0, 22, 5]]
    clipped, kept = clip_boxes(np.array(boxes), 10, 20)
    assert clipped.tolist() == [[0, 2, 8, 20]]
    assert kept.tolist() == [True, False, False, False, False]
    assert clipped.dtype == np.float32


def test_nothing_is_clipped_where_the_size_is_unknown() -> None:
    clipped, kept = clip_boxes(np.array([[-5, 2, 8, 30], [6, 2, 3, 9]]), 0, 0)
    assert clipped.tolist() == [[-5, 2, 8, 30]]
    assert kept.tolist() == [True, False]


def test_no_boxes() -> None:
    clipped, kept = clip_boxes(np.array([]), 10, 10)
    assert clipped.shape == (0, 4) and kept.shape == (0,)
