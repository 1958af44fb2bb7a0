"""The maps of one image and class at several scales, of one network or several, as one map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.batch import Batch, Resources, ragged

SIDE = 56
"""Side of the grid on which maps of several scales are fused."""
FIT_SHARES = 0.5, 1.0
"""Shares of a single scale at which the foreground is fitted: what a single map is sure of is too small an object."""
LEAST = 1e-4
"""What the foreground counts at least."""


@dataclass(frozen=True)
class Combination:
    """How the foreground and the class's maps become the map of ``foreground-cam``.

    Attributes:
        exponents: That of the foreground, that of the fused map.
        quantile: Share of the fused map's cells that become 0.
    """

    exponents: tuple[float, float] = (0.65, 0.35)
    quantile: float = 0.3

    def __call__(self, foregrounds: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> np.ndarray:
        """The map of one image and class.

        Args:
            foregrounds: (h, w) foreground of each network, see :mod:`stages.explain.foreground`.
            maps: (h, w) maps of the class at each scale, of all networks.

        Returns:
            (SIDE, SIDE) float64; all 0 where no map is positive anywhere, NaN where one is not finite.
        """
        fused_maps = fused(maps, self.quantile)
        if not fused_maps.any():
            return fused_maps
        foreground = np.mean([_large(one) for one in foregrounds], axis=0)
        of_foreground, of_maps = self.exponents
        found: np.ndarray = np.clip(foreground, LEAST, 1) ** of_foreground * fused_maps**of_maps + 1e-6
        return found


def fused(maps: Sequence[np.ndarray], quantile: float) -> np.ndarray:
    """The sum of maps that are divided by their maxima, without its lower part.

    Args:
        maps: (h, w) maps, whose magnitudes do not matter; one that is nowhere positive says nothing.
        quantile: Share of the sum's cells that become 0, in [0, 1).

    Returns:
        (SIDE, SIDE) float64 with maximum 1; all 0 where no map is positive anywhere, NaN where one is not finite.
    """
    total = np.zeros((SIDE, SIDE))
    for one in maps:
        large = _large(one)
        if not np.isfinite(large).all():
            return np.full((SIDE, SIDE), np.nan)
        if large.max() > 0:
            total += large / large.max()
    total = np.maximum(total - np.quantile(total, quantile), 0)
    highest = total.max()
    return total / highest if highest > 0 else total


class Fuse:
    """Replaces every ``map``, the only one of its image and class, by what :func:`fused` makes of it.

    Args:
        quantile: As there.
    """

    reads = ("map",)
    adds = ()
    resources = Resources(cpus=1)

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Fuse each row's map on its own."""
        return batch | {"map": ragged(fused([one], self.quantile) for one in batch["map"])}


def mean_of(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of maps, each divided by its largest absolute value, on the largest of their grids.

    Args:
        maps: (h, w) maps.

    Returns:
        (h, w) float64.
    """
    side = max((one.shape for one in maps), key=lambda shape: shape[0] * shape[1])
    values = [one.astype(np.float64) for one in maps]
    total = sum(_resized(one / (np.abs(one).max() or 1), side) for one in values)
    return np.asarray(total / len(maps))


def divided(maps: np.ndarray, scales: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Maps as they are stored, and the scales by which they are divided.

    Args:
        maps: (..., h, w).
        scales: (...), their largest absolute values where not given.

    Returns:
        (..., h, w) float16, those with a scale that is not finite undivided, and (...) float32.
    """
    scales = np.abs(maps).max((-2, -1)) if scales is None else scales
    divisor = np.where(np.isfinite(scales) & (scales > 0), scales, 1)
    return (maps / divisor[..., None, None]).astype(np.float16), np.asarray(scales, np.float32)


def _large(map: np.ndarray) -> np.ndarray:
    return _resized(map.astype(np.float64), (SIDE, SIDE))


def _resized(map: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if map.shape == shape:
        return map
    found: np.ndarray = cv2.resize(map, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return found
