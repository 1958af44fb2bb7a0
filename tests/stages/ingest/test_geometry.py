from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import ConfigurationError
from stages.ingest.geometry import FITS, fit_transform, to_displayed, to_input


def test_squash_maps_the_image_edges_to_the_input_edges() -> None:
    assert fit_transform(500, 375, 224, "squash", 0.875).tolist() == [224 / 500, 224 / 375, 0, 0]


def test_center_crop_uses_the_whole_pixel_sizes_of_the_resize() -> None:
    # 500 x 375 becomes 341 x 256 (341.33 rounded down), then 58.5 -> 58 and 16 pixels are cut off.
    assert fit_transform(500, 375, 224, "center_crop", 0.875).tolist() == [341 / 500, 256 / 375, -58, -16]
    assert fit_transform(300, 500, 224, "center_crop", 0.875).tolist() == [256 / 300, 426 / 500, -16, -101]
    assert fit_transform(375, 500, 224, "center_crop", 0.875).tolist() == [256 / 375, 341 / 500, -16, -58]


def test_letterbox_shows_the_whole_image_in_the_middle() -> None:
    assert fit_transform(100, 50, 224, "letterbox", 0.875).tolist() == [2.24, 2.24, 0, 56]
    assert fit_transform(20000, 1, 224, "letterbox", 0.875).tolist() == [224 / 20000, 1, 0, 111]


def test_unknown_fit_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="did you mean letterbox"):
        fit_transform(10, 10, 224, "leterbox", 0.875)


@given(
    width=st.integers(1, 1500),
    height=st.integers(1, 1500),
    fit=st.sampled_from(FITS),
    crop_ratio=st.floats(0.5, 1),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_visible_boxes_come_back(width, height, fit, crop_ratio, corners) -> None:
    transform = fit_transform(width, height, 224, fit, crop_ratio)[None]
    whole = np.array([[0, 0, width, height]])
    x0, y0, x1, y1 = to_displayed(np.array([[0, 0, 224, 224]]), transform, np.array([width]), np.array([height]))[0]
    assert x0 < x1 and y0 < y1
    (xa, xb), (ya, yb) = sorted(corners[:2]), sorted(corners[2:])
    box = np.array([[x0 + xa * (x1 - x0), y0 + ya * (y1 - y0), x0 + xb * (x1 - x0), y0 + yb * (y1 - y0)]])
    seen = to_input(box, transform)
    assert seen.min() >= -1e-3 and seen.max() <= 224 + 1e-3
    back = to_displayed(seen, transform, whole[:, 2], whole[:, 3])
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, box, atol=1e-4)


def test_rows_have_their_own_transform_and_clip() -> None:
    transform = np.array([[2.0, 1.0, 10.0, 0.0], [0.5, 0.5, 0.0, -5.0]])
    boxes = np.array([[0, 0, 50, 50], [0, 0, 50, 50]])
    found = to_displayed(boxes, transform, np.array([15, 70]), np.array([60, 200]))
    assert found.tolist() == [[0, 0, 15, 50], [0, 10, 70, 110]]
