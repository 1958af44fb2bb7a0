"""Intervals are those of theory, seeded, and independent of order."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate.statistics import bootstrap


def test_proportion_has_the_binomial_interval() -> None:
    found = bootstrap.proportion(300, 1000)
    assert found["value"] == 0.3 and found["n"] == 1000
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    np.testing.assert_allclose(found["ci95"], [0.3 - half, 0.3 + half], atol=0.003)
    assert bootstrap.proportion(300, 1000) == found != bootstrap.proportion(300, 1000, seed=1)


def test_certain_proportions_have_no_width() -> None:
    assert bootstrap.proportion(0, 9)["ci95"] == [0, 0]
    assert bootstrap.proportion(9, 9)["ci95"] == [1, 1]


def test_mean_has_the_normal_interval_and_ignores_order() -> None:
    values = np.random.default_rng(0).random(4000).astype(np.float32)
    found = bootstrap.mean(values)
    half = 1.96 * values.std() / np.sqrt(4000)
    np.testing.assert_allclose(found["ci95"], [values.mean() - half, values.mean() + half], atol=0.002)
    assert bootstrap.mean(values[::-1]) == found
    assert bootstrap.mean(values, seed=1) != found


def test_mean_of_zeros_and_ones_agrees_with_the_proportion() -> None:
    ones = np.repeat([0.0, 1.0], [300, 100])
    np.testing.assert_allclose(bootstrap.mean(ones)["ci95"], bootstrap.proportion(100, 400)["ci95"], atol=0.01)


def test_values_are_plain_and_rounded() -> None:
    found = bootstrap.proportion(np.int64(1), np.int64(3))
    assert found["value"] == 0.333333
    assert [type(found[key]) for key in ("value", "n")] == [float, int]
    assert bootstrap.mean(np.array([0.25]))["ci95"] == [0.25, 0.25]


def test_many_values_are_resampled_by_steps_with_the_same_interval() -> None:
    values = np.random.default_rng(1).beta(0.5, 0.7, 20_000)
    found = bootstrap.mean(values)
    assert found["value"] == pytest.approx(values.mean(), abs=1e-6)
    half = 1.959964 * values.std() / np.sqrt(len(values))
    np.testing.assert_allclose(found["ci95"], [values.mean() - half, values.mean() + half], atol=0.1 * half)
    assert found == bootstrap.mean(values[::-1])
    assert bootstrap.mean(np.full(20_000, 0.25))["ci95"] == [0.25, 0.25]


def test_a_function_of_sums_has_the_interval_of_its_images() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.uniform(0, 2, 2000), rng.uniform(1, 3, 2000)
    groups = np.stack([(above[at::64].sum(), below[at::64].sum()) for at in range(64)])

    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return sums[..., 0] / sums[..., 1]

    found = bootstrap.of_sums(ratio, groups, 2000)
    resamples = [rng.integers(0, 2000, 2000) for _ in range(1000)]
    low, high = np.percentile([above[one].sum() / below[one].sum() for one in resamples], [2.5, 97.5])
    assert found["value"] == pytest.approx(above.sum() / below.sum(), abs=1e-6) and found["n"] == 2000
    assert found["ci95"][1] - found["ci95"][0] == pytest.approx(high - low, rel=0.3)
    # Groups in which nothing is defined do not count.
    nothing = bootstrap.of_sums(ratio, np.array([[1.0, 1.0], [0.0, 0.0]]), 2)
    assert nothing["ci95"] == [1.0, 1.0]
