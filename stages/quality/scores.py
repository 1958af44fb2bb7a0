"""How well a quality tells right boxes from wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.evaluate.statistics.bootstrap import DECIMALS, proportion

BINS = 10
_NORMAL = 1.959964


def auroc(quality: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Area under the ROC curve: how often a right box has a higher quality than a wrong one; ties count half.

    The interval is that of DeLong, DeLong and Clarke-Pearson, Biometrics 1988, equation 3, for a single curve.

    Args:
        quality: (n,) quality of boxes.
        right: (n,) bool, whether each box is right; some are and some are not.

    Returns:
        ``value``, ``ci95`` and ``n``.

    >>> auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))["value"]
    0.875
    """
    right = np.asarray(right, bool)
    good, bad = np.sort(quality[right]), np.sort(quality[~right])
    # Share of the others that each one stands above.
    above = (np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")) / (2 * len(bad))
    below = 1 - (np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")) / (2 * len(good))
    value = float(above.mean())
    spread = _NORMAL * float(np.sqrt(sum(_variance(one) / len(one) for one in (above, below))))
    interval = [round(max(value - spread, 0.0), DECIMALS), round(min(value + spread, 1.0), DECIMALS)]
    return {"value": round(value, DECIMALS), "ci95": interval, "n": len(right)}


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def judged(quality: np.ndarray, right: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """What a quality is worth on boxes of which it is known whether they are right.

    Args:
        quality: (n,) quality of boxes, in [0, 1].
        right: (n,) bool, whether each box is right.
        seed: Seed of the intervals.

    Returns:
        ``right``, the share of right boxes; ``auroc``, where some are right and some are not; ``ece``, the expected
        calibration error over ten equally filled bins; ``reliability``, mean quality and share of right boxes of each;
        ``kept``, the share of right boxes among the best tenth, two tenths and so on.
    """
    right = np.asarray(right, bool)
    order = np.argsort(-quality, kind="stable")
    bins = [one for one in np.array_split(order[::-1], BINS) if len(one)]
    curve = [
        {"quality": round(float(quality[one].mean()), DECIMALS), **proportion(right[one].sum(), len(one), seed)}
        for one in bins
    ]
    error = sum(abs(one["quality"] - one["value"]) * one["n"] for one in curve) / len(right)
    kept = {f"{tenth / 10:g}": order[: max(1, round(len(order) * tenth / 10))] for tenth in range(1, 11)}
    both = 0 < right.sum() < len(right)
    return {
        "right": proportion(right.sum(), len(right), seed),
        **({"auroc": auroc(quality, right)} if both else {}),
        "ece": round(error, DECIMALS),
        "reliability": curve,
        "kept": {share: proportion(right[own].sum(), len(own), seed) for share, own in kept.items()},
    }
