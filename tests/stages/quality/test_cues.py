"""Cues of a map and its box."""

from __future__ import annotations

import numpy as np
import pytest

from stages.boxes.protocols import PROTOCOLS
from stages.quality.cues import CUES, cues_of

CAM2016 = PROTOCOLS["cam2016"]


def cues(map: np.ndarray, prob: float = 0.5) -> dict[str, float]:
    found = cues_of(map.astype(np.float32), prob, CAM2016)
    assert found is not None
    return dict(zip(CUES, found.tolist(), strict=True))


def test_of_a_plateau_that_touches_two_borders() -> None:
    map = np.zeros((56, 56))
    map[:28, :14] = 1
    found = cues(map, 0.75)
    assert found["area"] == pytest.approx(1 / 8) and found["log_area"] == pytest.approx(np.log(1 / 8))
    assert found["stability"] == 1 and found["prob"] == 0.75 and found["border_contact"] == 0.5
    # A ring of 2 pixels has 4 * 2 * 54 = 432 of them; of the plateau it covers 2 * 28 + 2 * 12.
    assert found["border_heat"] == pytest.approx(80 / 432)


def test_a_slope_is_less_stable_than_a_step() -> None:
    slope = np.clip(1 - np.abs(np.arange(56) - 28) / 28, 0, 1)
    found = cues(slope[:, None] * slope[None])
    assert 0.5 < found["stability"] < 0.9 and found["border_contact"] == 0


def test_the_scale_of_a_map_does_not_matter() -> None:
    map = np.random.default_rng(0).normal(size=(7, 7))
    np.testing.assert_allclose(
        cues_of(map, 0.5, CAM2016), cues_of((map * 37).astype(np.float32), 0.5, CAM2016), rtol=1e-5
    )


@pytest.mark.parametrize("map", [np.zeros((7, 7)), np.full((7, 7), -1.0), np.full((7, 7), np.nan)])
def test_without_a_box_there_are_none(map: np.ndarray) -> None:
    assert cues_of(map.astype(np.float32), 0.5, CAM2016) is None


def test_scales_agree_as_their_boxes_do() -> None:
    left, upper = np.zeros((56, 56), np.float32), np.zeros((56, 56), np.float32)
    left[:, :28] = upper[:28] = 1
    assert np.isnan(cues_of(left, 0.5, CAM2016, [left])[-1])
    # Halves that cross: a quarter of the image of three; nothing overlaps an empty map.
    assert cues_of(left, 0.5, CAM2016, [left, upper])[-1] == pytest.approx(1 / 3)
    assert cues_of(left, 0.5, CAM2016, [left, left, 0 * left])[-1] == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_them(name: str) -> None:
    map = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    found = cues_of(map, 0.5, PROTOCOLS[name])
    assert found is not None and np.isfinite(found[:-1]).all() and 0 < found[0] <= 1 and 0 <= found[2] <= 1
