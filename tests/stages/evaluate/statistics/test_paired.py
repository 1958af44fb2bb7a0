"""Differences between predictors, against scipy and a plain resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stages.evaluate.statistics.paired import mcnemar, mean_difference, share_difference


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(lost=st.integers(0, 300), won=st.integers(0, 300))
def test_mcnemar_is_the_two_sided_binomial_test(lost: int, won: int) -> None:
    expected = stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected, rel=1e-6, abs=1e-11)


def test_mcnemar_of_many_images() -> None:
    assert mcnemar(24_000, 25_000) == pytest.approx(stats.binomtest(24_000, 49_000, 0.5).pvalue, rel=1e-6)


def test_intervals_are_those_of_resampled_images() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(200)
    second = np.clip(first + rng.normal(0.03, 0.1, 200), 0, 1)
    drawn = rng.integers(0, 200, (20_000, 200))
    hits = first >= 0.5, second >= 0.5
    for found, (a, b) in (
        (mean_difference(first, second), (first, second)),
        (share_difference(*hits), hits),
    ):
        difference = b.astype(float) - a.astype(float)
        assert found["difference"] == pytest.approx(difference.mean(), abs=1e-6) and found["n"] == 200
        expected = np.percentile(difference[drawn].mean(1), [2.5, 97.5])
        assert found["ci95"] == pytest.approx(expected, abs=0.15 * np.ptp(expected))
    assert not mean_difference(first, second)["noise"]
    assert mean_difference(first, first) == {"difference": 0, "ci95": [0, 0], "n": 200, "noise": True}
    assert share_difference(hits[0], hits[0])["noise"] and share_difference(hits[0], hits[0])["mcnemar_p"] == 1


def test_a_small_p_value_alone_is_no_difference() -> None:
    # Five images of ten, all won: the interval lies above 0, the exact test says 1/16.
    first, second = np.zeros(10, bool), np.arange(10) < 5
    found = share_difference(first, second)
    assert found["ci95"][0] > 0 and found["mcnemar_p"] == 0.0625 and found["noise"]


def test_the_smallest_p_values_are_not_zero() -> None:
    assert mcnemar(0, 60) == pytest.approx(2.0**-59, rel=1e-6)
    assert share_difference(np.zeros(200, bool), np.ones(200, bool))["mcnemar_p"] == pytest.approx(2.0**-199, rel=1e-5)
    assert 0 < mcnemar(0, 50_000) < 1e-300
