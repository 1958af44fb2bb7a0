"""Four measures of the similarity of two maps; 1 means equal."""

from __future__ import annotations

import math

import cv2
import numpy as np

MEASURES = ("pearson", "spearman", "ssim", "hog")

_WINDOW, _SIGMA = 11, 1.5
_CELL, _BINS, _BLOCK = 16, 9, 3


def similarities(one: np.ndarray, other: np.ndarray, shown: np.ndarray, other_shown: np.ndarray) -> dict[str, float]:
    """Every measure of two maps by name; NaN where one is not defined, as with a constant map.

    The correlations compare raw maps; SSIM and HOG, which are made for pictures, what people are shown.

    Args:
        one: (h, w) raw map.
        other: (h, w) other raw map.
        shown: (S, S), the first one resized to the image, in [0, 1].
        other_shown: (S, S), the other map in the same form.
    """
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return dict.fromkeys(MEASURES, math.nan)
    blank = shown.min() == shown.max() or other_shown.min() == other_shown.max()
    return {
        "pearson": pearson(one, other),
        "spearman": abs(pearson(ranks(one), ranks(other))),
        "ssim": math.nan if blank else ssim(shown, other_shown),
        "hog": math.nan if blank else pearson(hog(shown), hog(other_shown)),
    }


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two arrays of one shape; NaN where one is constant."""
    a, b = (np.asarray(values, np.float64).ravel() for values in (one, other))
    if (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank (n,) of each value, from 0; equal values share the mean of their ranks.

    >>> ranks(np.array([0.3, 0.1, 0.3])).tolist()
    [1.5, 0.0, 1.5]
    """
    _, index, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[index]


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of two (S, S) pictures in [0, 1], S > 10 (Wang et al. 2004): Gaussian windows."""

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA)

    x, y = one.astype(np.float64), other.astype(np.float64)
    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    local = (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    edge = _WINDOW // 2  # Windows that reach beyond the border do not count.
    return float(local[edge:-edge, edge:-edge].mean())


def hog(image: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of an (S, S) picture, S > 15, as one vector (Dalal & Triggs 2005).

    Cells of 16 pixels, nine orientations, blocks of 3 x 3 cells normalised as L2-Hys, as in Adebayo et al. 2018;
    smaller pictures have smaller blocks.
    """
    values = image.astype(np.float64)
    down, right = np.zeros_like(values), np.zeros_like(values)
    down[1:-1], right[:, 1:-1] = values[2:] - values[:-2], values[:, 2:] - values[:, :-2]
    angle = np.rad2deg(np.arctan2(down, right)) % 180
    which = np.minimum((angle / (180 / _BINS)).astype(int), _BINS - 1)
    count = len(values) // _CELL
    side = count * _CELL
    votes = np.where(which[..., None] == np.arange(_BINS), np.hypot(down, right)[..., None], 0)[:side, :side]
    cells = votes.reshape(count, _CELL, count, _CELL, _BINS).mean((1, 3))
    block = min(_BLOCK, count)
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (block, block), (0, 1))
    vectors = np.moveaxis(blocks, 2, -1).reshape(-1, _BINS * block * block)
    vectors = np.minimum(_unit(vectors), 0.2)
    return _unit(vectors).ravel()


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.sqrt((vectors**2).sum(1, keepdims=True) + 1e-10)
    return unit
