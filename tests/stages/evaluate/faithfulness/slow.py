"""The definitions once more, in float64, pixel by pixel and image by image, without the code under test."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

Predict = Callable[[np.ndarray], float]
"""(3, S, S) image to the probability of the explained class."""


def saliency(raw: np.ndarray, size: int) -> np.ndarray:
    positive = np.maximum(raw, 0)
    if positive.min() == positive.max():
        return np.full((size, size), float(positive.max() > 0))
    large = cv2.resize(positive, (size, size), interpolation=cv2.INTER_LINEAR)
    return (large - large.min()) / (large.max() - large.min())


def ranking(raw: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Pixels from the most salient to the least."""
    salient = saliency(raw, size)
    large = cv2.resize(raw, (size, size), interpolation=cv2.INTER_LINEAR)
    pixels = [(y, x) for y in range(size) for x in range(size)]
    return sorted(pixels, key=lambda at: (-salient[at], -large[at], at))


def drop(image: np.ndarray, raw: np.ndarray, predict: Predict) -> dict[str, float]:
    whole, part = predict(image), predict(image * saliency(raw, image.shape[2]))
    return {
        "average_drop": max(0.0, whole - part) / whole,
        "increase": float(part > whole),
        "average_gain": max(0.0, part - whole) / (1 - whole),
    }


def adcc(image: np.ndarray, raw: np.ndarray, predict: Predict, explain: Callable) -> dict[str, float]:
    salient = saliency(raw, image.shape[2])
    again = saliency(explain(image * salient), image.shape[2])
    constant = len(np.unique(salient)) == 1 or len(np.unique(again)) == 1
    coherency = 0.0 if constant else (1 + np.corrcoef(salient.ravel(), again.ravel())[0, 1]) / 2
    complexity = float(np.abs(salient).mean())
    parts = [coherency, 1 - complexity, 1 - drop(image, raw, predict)["average_drop"]]
    harmonic = 0.0 if min(parts) <= 0 else 3 / sum(1 / part for part in parts)
    return {"coherency": coherency, "complexity": complexity, "adcc": harmonic}


def curve(start: np.ndarray, end: np.ndarray, raw: np.ndarray, predict: Predict, steps: int) -> float:
    """Area under the confidence while pixels of ``end`` replace those of ``start``."""
    size = start.shape[2]
    order, now, done, seen = ranking(raw, size), start.copy(), 0, []
    for step in range(steps + 1):
        for y, x in order[done : size**2 * step // steps]:
            now[:, y, x] = end[:, y, x]
        done = size**2 * step // steps
        seen.append(predict(now))
    return float((sum(seen) - seen[0] / 2 - seen[-1] / 2) / (len(seen) - 1))


def blurred(image: np.ndarray) -> np.ndarray:
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = ndimage.gaussian_filter(impulse, 5)
    return np.stack([ndimage.correlate(channel, kernel, mode="constant") for channel in image])


def imputed(image: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The linear system of ROAD, solved directly."""
    size = image.shape[2]
    missing = [(y, x) for y in range(size) for x in range(size) if gone[y, x]]
    number = {at: index for index, at in enumerate(missing)}
    system, right = lil_matrix((len(missing), len(missing))), np.zeros((len(missing), len(image)))
    for (y, x), row in number.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                beside = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= beside[0] < size and 0 <= beside[1] < size):
                    continue
                weight = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
                system[row, row] += weight
                if beside in number:
                    system[row, number[beside]] -= weight
                else:
                    right[row] += weight * image[:, *beside]
    solved = spsolve(system.tocsc(), right).reshape(len(missing), len(image))
    result = image.copy()
    for at, row in number.items():
        result[:, *at] = solved[row]
    return result


def road(image: np.ndarray, raw: np.ndarray, predict: Predict, noise: np.ndarray) -> float:
    order = ranking(raw, image.shape[2])
    total = 0.0
    for share in range(10, 100, 10):
        count = round(len(order) * share / 100)
        for pixels, sign in ((order[len(order) - count :], 1), (order[:count], -1)):
            gone = np.zeros(image.shape[1:], bool)
            gone[tuple(np.array(pixels).T)] = True
            total += sign * predict(np.where(gone, imputed(image, gone) + noise, image))
    return total / 2 / 9


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
