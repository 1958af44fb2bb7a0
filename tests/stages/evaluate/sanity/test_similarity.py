"""Similarities against scipy's and scikit-image's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from stages.evaluate.sanity.similarity import MEASURES, hog, pearson, ranks, similarities, ssim


def pictures(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two that share half of what they show."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((3, 4, 4)), np.ones((size // 4, size // 4)))
    one, other = coarse[0] + coarse[1], coarse[0] + coarse[2] + 0.1 * rng.random((size, size))
    return (one - one.min()) / np.ptp(one), (other - other.min()) / np.ptp(other)


def test_correlations():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(7, 7)), rng.normal(size=(7, 7))
    one[:2] = other[3:5] = 0  # ties
    assert pearson(one, other) == pytest.approx(pearsonr(one.ravel(), other.ravel()).statistic)
    assert pearson(ranks(one), ranks(other)) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_pictures(size):
    metrics, feature = pytest.importorskip("skimage.metrics"), pytest.importorskip("skimage.feature")
    one, other = pictures(size)
    expected = metrics.structural_similarity(
        one, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1
    )
    assert ssim(one, other) == pytest.approx(expected, abs=1e-9)
    block = min(3, size // 16)
    for image in (one, other):
        described = feature.hog(image, 9, (16, 16), (block, block), block_norm="L2-Hys")
        np.testing.assert_allclose(hog(image), described, atol=1e-5)  # single precision inside


def test_a_map_is_like_itself_and_its_reverse_has_the_same_order():
    raw, shown = np.arange(9.0).reshape(3, 3), pictures(32)[0]
    assert similarities(raw, raw, shown, shown) == pytest.approx(dict.fromkeys(MEASURES, 1))
    reverse = similarities(raw, -raw, shown, 1 - shown)
    assert reverse["pearson"] == pytest.approx(-1) and reverse["spearman"] == pytest.approx(1)


def test_what_is_not_defined_is_no_number():
    raw, shown = np.arange(9.0).reshape(3, 3), pictures(32)[0]
    constant = similarities(raw, np.ones((3, 3)), shown, np.ones((32, 32)))
    assert all(map(math.isnan, constant.values()))
    assert all(map(math.isnan, similarities(raw, np.full((3, 3), np.nan), shown, shown).values()))
