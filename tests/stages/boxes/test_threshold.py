"""Maps become heat in [.., 1], masks and a status."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.batch import ragged
from stages.boxes.protocols import get_protocol
from stages.boxes.threshold import Threshold, box_status, heat

CAM = get_protocol("cam2016")
CHOE = get_protocol("choe2020")


def test_max_keeps_zero_where_it_is_and_minmax_does_not() -> None:
    map = np.array([[-1, 1], [1, 3]], np.float16)
    np.testing.assert_allclose(heat(map, CAM, 2), np.array([[-1, 1], [1, 3]]) / 3, rtol=1e-6)
    minmax = get_protocol("cam2016", normalize="minmax")
    np.testing.assert_allclose(heat(map, minmax, 2), [[0, 0.5], [0.5, 1]], rtol=1e-6)


def test_bilinear_resize_has_half_pixel_centres() -> None:
    np.testing.assert_allclose(heat(np.array([[0.0, 1.0]], np.float16), CAM, 4)[0], [0, 0.25, 0.75, 1], rtol=1e-6)


def test_bicubic_resize_overshoots_and_bilinear_does_not() -> None:
    map = np.array([[0, 0, 1, 0, 0]] * 5, np.float16)
    assert heat(map, CAM, 20).min() == 0
    assert heat(map, get_protocol("cam2016", resize="bicubic"), 20).min() < -0.05


def test_uint8_truncates_to_levels() -> None:
    map = np.array([[0, 0.2039], [0.5, 1]], np.float64)
    np.testing.assert_allclose(heat(map, CHOE, 2) * 255, [[0, 51], [127, 255]], rtol=1e-6)


def test_uint8_truncates_what_float64_gives() -> None:
    for seed in range(5):
        map = np.random.default_rng(seed).normal(size=(7, 7)).astype(np.float16)
        wide = cv2.resize(map.astype(np.float64), (224, 224), interpolation=cv2.INTER_CUBIC)
        levels = ((wide - wide.min()) / (wide - wide.min()).max() * 255).astype(np.uint8)
        np.testing.assert_array_equal(np.rint(heat(map, CHOE, 224) * 255), levels)


def test_scale_of_the_map_does_not_matter() -> None:
    map = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float16)
    for protocol in (CAM, CHOE):
        np.testing.assert_array_equal(heat(map, protocol, 32), heat(map * np.float16(2), protocol, 32))


@pytest.mark.parametrize(
    ("map", "protocol", "status", "foreground"),
    [
        (np.zeros((3, 3)), CAM, "empty_map", 0),
        (np.zeros((3, 3)), CHOE, "empty_map", 0),
        (np.full((3, 3), -2.0), CAM, "empty_map", 0),
        (np.array([[-1, 0], [-2, -3]]), CAM, "empty_map", 0),
        (np.array([[-1, 0], [-2, -3]]), CHOE, "ok", 3),
        (np.full((3, 3), 0.3), CAM, "constant_map", 64),
        (np.full((3, 3), 0.3), CHOE, "constant_map", 0),
        (np.full((3, 3), 0.03), get_protocol("cam2016", resize="bicubic", normalize="minmax"), "constant_map", 0),
        (np.full((1, 1), 1.0), CAM, "constant_map", 64),
        (np.array([[1, np.nan], [0, 0]]), CAM, "non_finite", 0),
        (np.array([[1, -np.inf], [0, 0]]), CHOE, "non_finite", 0),
        (np.array([[1, 0], [0, 0]]), CAM, "ok", None),
    ],
)
def test_degenerate_maps(map: np.ndarray, protocol, status: str, foreground: int | None) -> None:
    map = map.astype(np.float16)
    size = 2 if status == "ok" else 8
    values = heat(map, protocol, size)
    assert values.dtype == np.float32 and np.isfinite(values).all()
    assert box_status(map, values) == status
    if foreground is not None:
        assert (values > protocol.cutoffs(np.array([0.2]))[0]).sum() == foreground


def test_a_lone_weak_positive_can_vanish_in_the_resize() -> None:
    map = np.full((3, 3), -1, np.float16)
    map[1, 1] = 0.001
    values = heat(map, CAM, 4)
    assert values.max() == 0 and box_status(map, values) == "empty_map"


def test_stage_cuts_strictly_above_and_drops_nothing() -> None:
    maps = ragged([np.array([[0.2, 0.21], [0, 1]], np.float32), np.ones((1, 1), np.float16)])
    batch = Threshold(CAM, 2)({"map": maps, "map_scale": np.array([1, np.nan], np.float32)})
    assert batch["mask"][0].tolist() == [[False, True], [False, True]]
    assert not batch["mask"][1].any()
    assert batch["box_status"].tolist() == ["ok", "non_finite"]
    assert batch["heat"].shape == (2, 2, 2) and "map" in batch


def test_ivr_sets_the_lower_share_of_pixels_to_zero() -> None:
    map = np.array([[-2, 0, 1], [2, 3, 4], [5, 6, 8]], np.float32)
    ivr = get_protocol("cam2016", normalize="ivr", percentile=0.4)
    # Nine pixels: the value at place int(0.4 * 9) = 3 of the sorted ones is 2.
    expected = np.maximum(map - 2, 0) / 6
    np.testing.assert_allclose(heat(map, ivr, 3), expected, rtol=1e-6)
    assert not heat(np.full((3, 3), 2.0), ivr, 3).any()


def test_without_normalisation_the_threshold_is_a_value() -> None:
    raw = get_protocol("cam2016", normalize="none", threshold=0.5)
    batch = {"map": ragged([np.array([[0.25, 1.0]]), np.full((2, 2), 0.5)]), "map_scale": np.array([0.6, 2.0])}
    found = Threshold(raw, 2)(batch)
    np.testing.assert_allclose(found["heat"][0][0], [0.15, 0.6], rtol=1e-6)
    assert found["mask"][0].tolist() == [[False, True]] * 2 and found["mask"][1].all()
