"""Maps at several scales as one: magnitudes do not count, the lower part goes, the foreground must agree."""

import numpy as np
import pytest

from stages.explain.several_scales import SIDE, Combination, fused, mean_of


def test_fused_maps_count_alike_and_lose_their_lower_part():
    generator = np.random.default_rng(0)
    small, large = generator.random((7, 7)), generator.random((14, 14))
    once = fused([small, large], 0.3)
    np.testing.assert_allclose(fused([small * 100, large * 0.01], 0.3), once, atol=1e-12)
    assert once.shape == (SIDE, SIDE) and once.max() == 1
    assert np.mean(once == 0) == pytest.approx(0.3, abs=0.01)
    assert not fused([-small], 0.3).any()
    np.testing.assert_array_equal(fused([-small, large], 0.3), fused([large], 0.3))


def test_combined_needs_both():
    map = np.zeros((SIDE, SIDE))
    map[:, 28:] = 1.0
    foreground = np.zeros((7, 7))
    foreground[:4] = 2.0
    found = Combination()([foreground], [map])
    assert found[:8, :20].max() < 1e-5 < 0.02 and found[:8, 40:].min() > 0.9 and found[-8:, 40:].max() < 0.01


def test_what_is_not_finite_stays_so():
    map = np.eye(7)
    map[3, 3] = np.nan
    assert np.isnan(fused([np.eye(7), map], 0.3)).all()
    assert np.isnan(Combination()([np.ones((7, 7))], [map])).all()
    assert not Combination()([np.ones((7, 7))], [-np.eye(7)]).any()


def test_the_mean_of_networks_counts_them_alike():
    np.testing.assert_allclose(mean_of([np.eye(4), -50 * np.eye(4)]), 0)
    assert mean_of([np.eye(4), 9 * np.eye(8)]).shape == (8, 8)
