"""Whether two predictors differ, judged by the images that both were scored on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from stages.evaluate.statistics import bootstrap
from stages.evaluate.statistics.bootstrap import DECIMALS, RESAMPLES

ALPHA = 0.05
"""Differences at least this likely by chance are called noise."""

SMALLEST = sys.float_info.min
"""Smallest float with full precision. A p-value is never 0; one below this is given as this."""


def mean_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Second minus first, of the means of (n,) values of the same images, n > 0.

    Returns:
        ``difference`` and its 95 % percentile bootstrap interval ``ci95`` over images; ``n``; and
        ``noise``, whether the interval holds 0.
    """
    found = bootstrap.mean(np.asarray(second, np.float64) - np.asarray(first, np.float64), seed)
    low, high = found["ci95"]
    return {
        "difference": found["value"],
        "ci95": found["ci95"],
        "n": found["n"],
        "noise": bool(low <= 0 <= high),
    }


def share_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Second minus first, of the shares of (n,) hits of the same images, n > 0.

    The resampled numbers of images that only one of the two gets right are multinomial draws, exactly.

    Returns:
        As :func:`mean_difference`, and ``mcnemar_p``; a difference is noise by either of the two.
    """
    n = len(first)
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    drawn = np.random.default_rng(seed).multinomial(n, [lost / n, won / n, (n - lost - won) / n], RESAMPLES)
    low, high = np.percentile((drawn[:, 1] - drawn[:, 0]) / n, [2.5, 97.5])
    p = mcnemar(lost, won)
    return {
        "difference": round((won - lost) / n, DECIMALS),
        "ci95": [round(float(low), DECIMALS), round(float(high), DECIMALS)],
        "n": n,
        "mcnemar_p": float(f"{p:.6g}"),
        "noise": bool(low <= 0 <= high or p >= ALPHA),
    }


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947), by the binomial distribution.

    Args:
        lost: Images that only the first predictor gets right.
        won: Images that only the second one does.

    >>> mcnemar(1, 5), mcnemar(0, 0)
    (0.21875, 1.0)
    """
    n = lost + won
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    tail = np.arange(min(lost, won) + 1)
    terms = np.exp(logs[n] - logs[tail] - logs[n - tail] - n * np.log(2))
    return float(f"{min(1.0, max(SMALLEST, 2 * float(terms.sum()))):.9g}")
