"""95 % percentile bootstrap intervals, seeded: the same numbers always give the same interval."""

from __future__ import annotations

from typing import Any

import numpy as np

RESAMPLES = 2000
DECIMALS = 6
_CHUNK = 1 << 22  # values drawn at a time, which bounds memory whatever the number of images


def _estimate(value: float, resampled: np.ndarray, n: int) -> dict[str, Any]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    interval = [round(float(low), DECIMALS), round(float(high), DECIMALS)]
    return {"value": round(float(value), DECIMALS), "ci95": interval, "n": int(n)}


def proportion(hits: int, n: int, seed: int = 0) -> dict[str, Any]:
    """A share of ``n`` > 0 images. Its resampled mean is a binomial draw, exactly.

    >>> proportion(50, 100)["value"]
    0.5
    """
    share = int(hits) / int(n)
    return _estimate(share, np.random.default_rng(seed).binomial(int(n), share, RESAMPLES) / int(n), n)


def proportions(hits: np.ndarray, n: int, deltas: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    """A :func:`proportion` for each IoU level: (D,) hits among ``n`` > 0 images, keyed ``"0.5"``."""
    return {f"{delta:g}": proportion(count, n, seed) for delta, count in zip(deltas, hits, strict=True)}


def mean(values: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The mean of (n,) values, n > 0. Their order does not matter."""
    values = np.sort(np.asarray(values, np.float64))
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(values))
    means = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)), dtype=np.int32)
        means.append(values[drawn].mean(1))
    return _estimate(values.mean(), np.concatenate(means), len(values))
