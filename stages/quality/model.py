"""A logistic model of whether a box is right, from the cues of its map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from stages.errors import DataError
from stages.evaluate.statistics.by_id import uniform
from stages.quality.cues import CUES, OF_ONE_MAP

RIDGE = 0.1
"""Weight of the squared coefficients of the standardized cues, in units of one image."""
FOLDS = 5
_ROUNDS = 50


@dataclass(frozen=True)
class QualityModel:
    """The model: a constant and a weight for each standardized cue.

    Attributes:
        cues: Names of its cues: all of :data:`stages.quality.cues.CUES`, or those of one map alone.
        mean: Mean of each cue.
        std: Standard deviation of each cue.
        weights: Weight of each standardized cue.
        bias: Constant.
        fitted_on: Where it was fitted, for people.
        calibrated: Whether it was fitted on images like those that it is used on, so that its values are
            probabilities; otherwise they only put boxes into an order.
    """

    cues: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    fitted_on: str
    calibrated: bool

    def quality(self, cues: np.ndarray) -> np.ndarray:
        """Quality of boxes, (n,) in (0, 1), from (n, 7) cues; higher is better.

        Raises:
            DataError: It was fitted to the agreement of scales, and a box has none.
        """
        cues = np.asarray(cues, np.float64)
        if self.cues == CUES and (np.isfinite(cues[:, 0]) & np.isnan(cues[:, -1])).any():
            raise DataError(
                f"the model of quality was fitted on {self.fitted_on}, whose maps are of several scales, and these are "
                "of one; fit it again on such boxes"
            )
        standard = (cues[:, : len(self.cues)] - self.mean) / self.std
        score: np.ndarray = 1 / (1 + np.exp(-(standard @ np.array(self.weights) + self.bias)))
        return score

    def text(self) -> str:
        """The model as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_model(text: str, name: str) -> QualityModel:
    """A model from its JSON.

    Args:
        text: The JSON.
        name: Where it is from, for the message.

    Raises:
        DataError: It is not a model of these cues.
    """
    try:
        tree = json.loads(text)
        cues = tuple(tree["cues"])
        if cues not in (OF_ONE_MAP, CUES):
            raise ValueError("it has other cues")
        mean, std, weights = (tuple(map(float, tree[key])) for key in ("mean", "std", "weights"))
        if {len(mean), len(std), len(weights)} != {len(cues)}:
            raise ValueError("a number is missing")
        return QualityModel(
            cues, mean, std, weights, float(tree["bias"]), str(tree["fitted_on"]), bool(tree["calibrated"])
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} is no model of quality: {error}; fit it again") from None


@cache
def shipped(several_scales: bool) -> QualityModel:
    """The model of this package for maps that were made from one map, or from those of several scales."""
    name = "several_scales.json" if several_scales else "one_map.json"
    text = files("stages.quality").joinpath("shipped", name).read_text(encoding="utf-8")
    return read_model(text, name)


def shipped_quality(cues: np.ndarray) -> np.ndarray:
    """Quality (n,) of boxes by the package's models, of one map or of several scales, from (n, 7) cues."""
    several = np.isfinite(cues[:, -1])
    found = np.empty(len(cues))
    for kind in (False, True):
        found[several == kind] = shipped(kind).quality(cues[several == kind])
    return found


def fit(cues: np.ndarray, right: np.ndarray, fitted_on: str, calibrated: bool = True) -> QualityModel:
    """Fit the model by Newton's method, to the agreement of scales too where every box has one.

    Args:
        cues: (n, 7) cues of boxes.
        right: (n,) bool, whether each box is right.
        fitted_on: Description of the images.
        calibrated: As in :class:`QualityModel`.

    Raises:
        DataError: All boxes are right, or none is.
    """
    right = np.asarray(right, np.float64)
    if not 0 < right.sum() < len(right):
        share = "all" if right.sum() else "none"
        raise DataError(f"of {len(right)} boxes {share} are right, so that nothing tells good boxes from bad ones")
    names = CUES if np.isfinite(cues).all() else OF_ONE_MAP
    cues = cues[:, : len(names)]
    mean, std = cues.mean(0), cues.std(0)
    std = np.where(std > 0, std, 1)
    design = np.column_stack([np.ones(len(cues)), (cues - mean) / std])
    ridge = np.diag([0.0] + [RIDGE] * len(names))
    weights = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        probs = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (probs - right) + ridge @ weights
        curvature = design.T @ (design * (probs * (1 - probs))[:, None]) + ridge
        weights = weights - np.linalg.solve(curvature, slope)
    bias, *rest = weights.tolist()
    return QualityModel(names, tuple(mean.tolist()), tuple(std.tolist()), tuple(rest), bias, fitted_on, calibrated)


def cross_fitted(cues: np.ndarray, right: np.ndarray, ids: Sequence[int] | np.ndarray, seed: int = 0) -> np.ndarray:
    """Quality of each box by a model that was fitted on other images.

    Args:
        cues: (n, 7) cues of boxes.
        right: (n,) bool, whether each box is right.
        ids: Image of each box; boxes of one image are in one fold.
        seed: Seed of the division into five folds.

    Raises:
        DataError: In the boxes of four folds, all are right or none is.
    """
    fold = (uniform(np.asarray(ids), seed) * FOLDS).astype(np.int64)
    quality = np.full(len(cues), np.nan)
    for held in range(FOLDS):
        own = fold == held
        if own.any():
            quality[own] = fit(cues[~own], right[~own], "").quality(cues[own])
    return quality
