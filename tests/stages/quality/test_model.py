"""The logistic model of quality, and what it is worth."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from stages.errors import DataError
from stages.quality.cues import CUES, OF_ONE_MAP
from stages.quality.model import Models, cross_fitted, fit, read_models, shipped
from stages.quality.scores import auroc, judged


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cues, whether each box is right, and the probability that it is: a logistic of two of the cues."""
    rng = np.random.default_rng(seed)
    cues = rng.normal([0.5, -1, 0.9, 0.6, 0.1, 0.4, 0.7], [0.2, 0.5, 0.1, 0.3, 0.1, 0.2, 0.2], (n, len(CUES)))
    probs = 1 / (1 + np.exp(-(4 * (cues[:, 0] - 0.5) - 3 * (cues[:, 5] - 0.4))))
    return cues, rng.random(n) < probs, probs


def test_a_logistic_is_found_again() -> None:
    cues, right, probs = drawn(20_000, 0)
    model = fit(cues, right, "drawn")
    assert np.abs(model.quality(cues) - probs).max() < 0.05 and model.of(False).calibrated
    assert read_models(model.text(), "x") == model and model.of(True).calibrated


def test_maps_of_one_scale_and_of_several_are_told_apart() -> None:
    cues, right, _ = drawn(100, 8)
    alone = cues.copy()
    alone[:, -1] = np.nan
    models = fit(alone, right, "drawn")
    assert models.one_map.cues == OF_ONE_MAP and models.several_scales is None
    np.testing.assert_array_equal(models.quality(cues), models.quality(alone))
    both = fit(cues, right, "both")
    assert both.one_map == dataclasses.replace(models.one_map, fitted_on="both") and both.of(True).cues == CUES
    mixed = np.where(np.arange(100)[:, None] % 2, cues, alone)
    for one in (both, shipped()):
        expected = np.where(np.arange(100) % 2, one.of(True).quality(cues), one.of(False).quality(alone))
        np.testing.assert_array_equal(one.quality(mixed), expected)


def test_the_model_of_an_earlier_version_is_read() -> None:
    earlier = dataclasses.asdict(shipped().one_map)
    assert read_models(json.dumps(earlier), "x") == Models(shipped().one_map, None)


def test_what_is_judged_was_not_seen() -> None:
    cues, _, _ = drawn(200, 1)
    chance = np.random.default_rng(2).random(200) < 0.5
    ids = np.arange(200)
    seen = auroc(fit(cues, chance, "").quality(cues), chance)["value"]
    held_out = auroc(cross_fitted(cues, chance, ids), chance)["value"]
    assert seen > 0.54 > held_out
    np.testing.assert_array_equal(cross_fitted(cues, chance, ids), cross_fitted(cues, chance, ids))


def test_boxes_of_one_image_are_in_one_fold() -> None:
    cues, right, _ = drawn(100, 3)
    twice = np.concatenate([cues, cues])
    quality = cross_fitted(twice, np.concatenate([right, ~right]), np.tile(np.arange(100), 2))
    np.testing.assert_allclose(quality[:100], quality[100:])


def test_the_area_and_its_interval() -> None:
    rng = np.random.default_rng(4)
    quality, right = np.round(rng.random(300), 2), rng.random(300) < 0.4
    pairs = quality[right][:, None] - quality[~right][None]
    found = auroc(quality, right)
    assert found["value"] == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2, abs=1e-6)
    drawn = [rng.integers(0, 300, 300) for _ in range(1000)]
    low, high = np.percentile([auroc(quality[own], right[own])["value"] for own in drawn], [2.5, 97.5])
    assert found["ci95"] == pytest.approx([low, high], abs=0.02)


def test_judgement_of_a_perfect_order_and_of_probabilities() -> None:
    right = np.arange(100) >= 40
    found = judged(np.linspace(0, 1, 100), right)
    assert found["auroc"]["value"] == 1 and found["right"]["value"] == 0.6
    assert found["kept"]["0.5"]["value"] == 1 and found["kept"]["1"]["value"] == 0.6
    probs = np.random.default_rng(5).random(50_000)
    assert judged(probs, np.random.default_rng(6).random(50_000) < probs)["ece"] < 0.02
    assert judged(np.full(10, 0.9), np.zeros(10, bool))["ece"] == pytest.approx(0.9)
    assert "auroc" not in judged(np.full(10, 0.9), np.zeros(10, bool))


def test_too_few_boxes_are_not_judged() -> None:
    cues, _, _ = drawn(6, 7)
    with pytest.raises(DataError, match=r"6 boxes are too few to judge a model .*: .*; fit on more images"):
        cross_fitted(cues, np.arange(6) == 0, np.arange(6))


def test_all_right_or_all_wrong_teaches_nothing() -> None:
    cues, _, _ = drawn(10, 7)
    with pytest.raises(DataError, match="of 10 boxes none are right"):
        fit(cues, np.zeros(10, bool), "")


def _changed(**change: object) -> str:
    tree = json.loads(shipped().text())
    tree["one_map"] |= change
    return json.dumps(tree)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"cues": ["area"]}', "null", "[" * 100_000),
        *(_changed(bias=10**400), _changed(bias=float("nan")), _changed(std=[0.0] * 6), _changed(weights=[1.0])),
    ],
    ids=lambda text: text[:20],
)
def test_a_damaged_model_is_named(text: str) -> None:
    with pytest.raises(DataError, match=r"run/quality\.json is no model of quality: .*; fit it again"):
        read_models(text, "run/quality.json")


@pytest.mark.parametrize(("several_scales", "names"), [(False, OF_ONE_MAP), (True, CUES)])
def test_a_shipped_model_is_a_rank_and_says_where_it_is_from(several_scales: bool, names: tuple[str, ...]) -> None:
    model = shipped().of(several_scales)
    assert not model.calibrated and "333 photographs" in model.fitted_on
    assert model.cues == names
    # Small boxes along the border are worse than large ones in the middle.
    small, large = [0.3, np.log(0.3), 0.9, 0.7, 0.2, 0.5, 0.5], [0.7, np.log(0.7), 0.9, 0.7, 0.05, 0.25, 0.8]
    quality = model.quality(np.array([small, large]))
    assert 0 < quality[0] < quality[1] < 1
