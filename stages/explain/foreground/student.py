"""The foreground student: one weight per channel, fitted to what class activation maps are sure of.

A cell of the last feature map whose fused class activation map is high is foreground, one where it is low is
background, and a ridge regression learns to tell them apart from the cell's features. It sees neither boxes nor labels
beyond those whose maps it learns from. Its sums add up over shards.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.errors import DataError

HIGH, LOW = 0.45, 0.03
"""Fused values above which a cell counts as foreground, and below which as background."""
CELLS = 20
"""Most cells of each kind that an image gives."""
RIDGE = 0.1
"""Strength of the regularisation, as a share of the number of cells."""
SOFTENING = 0.05
"""Added to every channel's standard deviation, so that channels that hardly vary are not blown up."""


def seeds(map: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cells of which the fused map is sure; of more than :data:`CELLS` of a kind as many, even steps apart in
    raster order.

    A random choice would move the boxes of a few images in a hundred.

    Args:
        map: (h, w) from :func:`stages.explain.several_scales.fused`.
        shape: Height and width of the feature map.

    Returns:
        (n,) int64 places in the flattened feature map, in raster order for each kind, and (n,) float64, 1 for
        foreground and 0 for background.
    """
    values = cv2.resize(map, shape[::-1], interpolation=cv2.INTER_AREA).reshape(-1)
    places, targets = [], []
    for target, sure in ((1.0, values > HIGH), (0.0, values < LOW)):
        cells = np.flatnonzero(sure)
        chosen = cells if len(cells) <= CELLS else cells[(2 * np.arange(CELLS) + 1) * len(cells) // (2 * CELLS)]
        places.append(chosen)
        targets.append(np.full(len(chosen), target))
    return np.concatenate(places), np.concatenate(targets)


@dataclass(frozen=True)
class Sums:
    """What a fit needs of the cells that it has seen; those of disjoint images add up.

    Attributes:
        cells: Number of cells.
        foreground: Number of them that are foreground.
        features: (K,) sum of the features.
        of_foreground: (K,) sum of the features of the foreground.
        products: (K, K) sum of the features' outer products.
    """

    cells: int
    foreground: int
    features: np.ndarray
    of_foreground: np.ndarray
    products: np.ndarray

    @classmethod
    def none(cls, channels: int) -> Sums:
        """Those of no cell."""
        return cls(0, 0, np.zeros(channels), np.zeros(channels), np.zeros((channels, channels)))

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray) -> Sums:
        """Those of some cells.

        Args:
            features: (n, K) finite.
            targets: (n,) 1 for foreground, 0 for background.
        """
        values = features.astype(np.float64)
        own = values[targets == 1]
        return cls(len(values), len(own), values.sum(0), own.sum(0), values.T @ values)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.cells + other.cells,
            self.foreground + other.foreground,
            self.features + other.features,
            self.of_foreground + other.of_foreground,
            self.products + other.products,
        )


@dataclass(frozen=True)
class Student:
    """A linear function of a cell's features, about 1 on foreground and 0 on background.

    Attributes:
        weights: (K,) float64.
        bias: Its value where all features are 0.
    """

    weights: np.ndarray
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Foreground of (..., K) features, (...,) float64, not clipped."""
        found: np.ndarray = features.astype(np.float64) @ self.weights + self.bias
        return found


def fit(sums: Sums) -> Student:
    """The ridge regression of the targets on the standardised features, written as a function of the raw ones.

    Raises:
        DataError: There is no cell of one of the two kinds.
    """
    background = sums.cells - sums.foreground
    if not (sums.foreground and background):
        raise DataError(
            f"the class activation maps are sure of {sums.foreground} cells of foreground and {background} of "
            "background with finite features, and the foreground needs both: explain labels that the network knows, or "
            "more images"
        )
    n = sums.cells
    mean, share = sums.features / n, sums.foreground / n
    variance = np.maximum(np.diag(sums.products) / n - mean**2, 0)
    scale = np.sqrt(variance) + SOFTENING
    products = (sums.products - n * np.outer(mean, mean)) / np.outer(scale, scale)
    agreement = (sums.of_foreground - share * sums.features) / scale
    weights = np.linalg.solve(products + RIDGE * n * np.eye(len(mean)), agreement) / scale
    return Student(weights, float(share - weights @ mean))
