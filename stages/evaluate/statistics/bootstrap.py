"""95 % percentile bootstrap intervals, seeded: the same numbers always give the same interval."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

RESAMPLES = 2000
DECIMALS = 6
_CHUNK = 1 << 22  # values drawn at a time, which bounds memory whatever the number of images
_STEPS = 512
"""Number of steps of the values' range. Above eight times this number of values, values are resampled by these
steps. What a step hides is its width squared / 12 of the variance, some millionths of it, and memory and time
no longer grow."""


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
    if len(values) > 8 * _STEPS and values[0] < values[-1]:
        step = np.minimum((values - values[0]) / (values[-1] - values[0]) * _STEPS, _STEPS - 1).astype(np.int64)
        counts = np.bincount(step, minlength=_STEPS)
        centres = np.bincount(step, values, _STEPS) / np.maximum(counts, 1)
        drawn = rng.multinomial(len(values), counts / len(values), RESAMPLES)
        return _estimate(values.mean(), drawn @ centres / len(values), len(values))
    rows = max(1, _CHUNK // len(values))
    means = []
    for start in range(0, RESAMPLES, rows):
        indices = rng.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)), dtype=np.int32)
        means.append(values[indices].mean(1))
    return _estimate(values.mean(), np.concatenate(means), len(values))


def of_sums(function: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, n: int, seed: int = 0) -> dict[str, Any]:
    """A function of sums over all images, by resampling groups of them.

    Args:
        function: (..., *) sums to (...) values, NaN where they define none.
        groups: (G, *) sums over each group's images.
        n: Number of images.
        seed: Seed of the interval.
    """
    drawn = np.random.default_rng(seed).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), RESAMPLES)
    rows = max(1, _CHUNK // groups[0].size)
    flat = groups.reshape(len(groups), -1).astype(np.float64)
    parts = [drawn[at : at + rows] @ flat for at in range(0, RESAMPLES, rows)]
    resampled = np.concatenate([function(part.reshape(-1, *groups.shape[1:])) for part in parts])
    return _estimate(float(function(groups.sum(0))), resampled[~np.isnan(resampled)], n)


def class_mean(hits: np.ndarray, n: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The share of images that are right, averaged over classes.

    The images are resampled, whatever their class: a resample has a multinomial number of images of each
    class, of which a binomial number is right, exactly. A class that it misses is not averaged.

    Args:
        hits: (C,) images of each class that are right.
        n: (C,) images of each class, > 0.
        seed: Seed of the interval.
    """
    n = np.asarray(n, np.int64)
    shares = hits / n
    means = []
    for start in range(0, RESAMPLES, rows := max(1, _CHUNK // len(n))):
        drawn = _class_sizes(n.tobytes(), min(rows, RESAMPLES - start), (seed, start))
        there = drawn > 0
        right = np.random.default_rng((seed, start, 1)).binomial(drawn, shares)
        means.append(np.divide(right, drawn, out=np.zeros(drawn.shape), where=there).sum(1) / there.sum(1))
    return _estimate(shares.mean(), np.concatenate(means), n.sum())


@lru_cache(maxsize=1)  # All levels, methods and baselines of a run have the same images.
def _class_sizes(n: bytes, resamples: int, seed: tuple[int, int]) -> np.ndarray:
    """(resamples, C) images of each class among as many as the int64 ``n`` sum to, drawn from them."""
    counts = np.frombuffer(n, np.int64)
    return np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), resamples).astype(np.int32)
