"""The student's fit from sums is the ridge regression of its cells."""

import numpy as np
import pytest

from stages.errors import DataError
from stages.explain.foreground.student import CELLS, RIDGE, SOFTENING, Sums, fit, seeds
from stages.explain.several_scales import SIDE


@pytest.fixture(scope="module")
def cells():
    generator = np.random.default_rng(3)
    targets = (generator.random(500) < 0.4).astype(float)
    features = generator.random((500, 12)) + np.outer(targets, generator.normal(size=12))
    features[:, 5] = 0.25  # a channel that never varies
    return features, targets


def plainly(features, targets):
    """The weights and the bias as the recipe says it."""
    mean, scale = features.mean(0), features.std(0) + SOFTENING
    z, y = (features - mean) / scale, targets - targets.mean()
    weights = np.linalg.solve(z.T @ z + RIDGE * len(z) * np.eye(z.shape[1]), z.T @ y) / scale
    return weights, targets.mean() - mean @ weights


def test_the_sums_give_the_ridge_regression_of_all_cells(cells):
    features, targets = cells
    weights, bias = plainly(features, targets)
    student = fit(Sums.of(features, targets))
    np.testing.assert_allclose(student.weights, weights, atol=1e-10)
    assert student.bias == pytest.approx(bias, abs=1e-10)
    assert student(features[targets == 1]).mean() > student(features[targets == 0]).mean() + 0.3


def test_sums_of_parts_add_up(cells):
    features, targets = cells
    parts = [Sums.of(features[at : at + 100], targets[at : at + 100]) for at in range(0, 500, 100)]
    total = sum(parts, Sums.none(12))
    np.testing.assert_allclose(fit(total).weights, fit(Sums.of(features, targets)).weights, atol=1e-10)


@pytest.mark.parametrize("only", [0, 1])
def test_cells_of_one_kind_teach_nothing(cells, only):
    features, targets = cells
    with pytest.raises(DataError, match=r"sure of (0 cells of foreground and \d+|\d+ cells of foreground and 0) of"):
        fit(Sums.of(features[targets == only], targets[targets == only]))


def test_seeds_are_sure_cells_and_few():
    map = np.zeros((SIDE, SIDE))
    map[:28] = 1.0
    places, targets = seeds(map, (14, 14))
    assert len(places) == 2 * CELLS and len(set(places)) == 2 * CELLS
    np.testing.assert_array_equal(targets, places < 7 * 14)
    assert len(seeds(np.full((SIDE, SIDE), 0.2), (7, 7))[0]) == 0


def test_seeds_are_spread_evenly():
    map = np.full((SIDE, SIDE), 0.2)
    map[: SIDE // 2] = 1.0
    places, _ = seeds(map, (14, 14))
    assert (np.diff(places) >= 98 // CELLS).all() and (np.diff(places) <= 98 // CELLS + 1).all()
    assert places[0] == 97 - places[-1]  # as far from the first sure cell as from the last
    few, _ = seeds(map, (6, 6))
    np.testing.assert_array_equal(few, np.arange(18))
