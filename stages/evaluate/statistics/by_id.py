"""Pseudo-random numbers that depend only on an image's id, so that neither order nor workers matter."""

from __future__ import annotations

import numpy as np


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Well-spread uint64 for int64 of any pattern: the finalizer of SplitMix64.

    Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    bits = np.asarray(numbers).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def uniform(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A float64 in [0, 1) for each int64. A generator of numpy's for each image would take longer than its scores."""
    return (mixed(mixed(numbers) ^ mixed(np.full(1, seed % 2**64, np.uint64))) >> np.uint64(11)) / 2.0**53
