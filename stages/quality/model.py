"""A logistic model of whether a box is right, from the cues of its map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

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
        """Quality of boxes, (n,) in (0, 1), from (n, 7) cues; higher is better."""
        standard = (np.asarray(cues, np.float64)[:, : len(self.cues)] - self.mean) / self.std
        score: np.ndarray = 1 / (1 + np.exp(-(standard @ np.array(self.weights) + self.bias)))
        return score


@dataclass(frozen=True)
class Models:
    """A model for boxes of one map, and one for those whose map was made from several, which may agree or not.

    Attributes:
        one_map: That of one map, which does for all where there is no other.
        several_scales: That of several.
    """

    one_map: QualityModel
    several_scales: QualityModel | None

    def of(self, several_scales: bool) -> QualityModel:
        """The model for boxes of one kind."""
        return self.several_scales if several_scales and self.several_scales else self.one_map

    def quality(self, cues: np.ndarray) -> np.ndarray:
        """Quality (n,) of boxes of both kinds from (n, 7) cues, NaN where these are."""
        several = np.isfinite(cues[:, -1])
        found = np.empty(len(cues))
        for kind in (False, True):
            found[several == kind] = self.of(kind).quality(cues[several == kind])
        return found

    def text(self) -> str:
        """The models as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_models(text: str, name: str) -> Models:
    """The models in their JSON, or the only one that version 0.6.0 and before wrote.

    Args:
        text: The JSON.
        name: Where it is from, for the message.

    Raises:
        DataError: These are no models of these cues.
    """
    try:
        tree = json.loads(text)
        if "cues" in tree:
            return Models(_model(tree, OF_ONE_MAP), None)
        several = tree["several_scales"]
        return Models(_model(tree["one_map"], OF_ONE_MAP), None if several is None else _model(several, CUES))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"{name} is no model of quality: {error}; fit it again") from None


def _model(tree: dict[str, Any], cues: tuple[str, ...]) -> QualityModel:
    if tuple(tree["cues"]) != cues:
        raise ValueError("it has other cues")
    mean, std, weights = (tuple(map(float, tree[key])) for key in ("mean", "std", "weights"))
    if {len(mean), len(std), len(weights)} != {len(cues)}:
        raise ValueError("a number is missing")
    if not np.isfinite([*mean, *std, *weights, float(tree["bias"])]).all() or min(std) <= 0:
        raise ValueError("its numbers are not finite, or a deviation is not positive")
    return QualityModel(cues, mean, std, weights, float(tree["bias"]), str(tree["fitted_on"]), bool(tree["calibrated"]))


@cache
def shipped() -> Models:
    """The models of this package."""
    text = files("stages.quality").joinpath("shipped.json").read_text(encoding="utf-8")
    return read_models(text, "shipped.json")


def fit(cues: np.ndarray, right: np.ndarray, fitted_on: str, calibrated: bool = True) -> Models:
    """Fit the models by Newton's method: that of several scales where the agreement of every box's is known.

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
    kinds = (OF_ONE_MAP, CUES) if np.isfinite(cues).all() else (OF_ONE_MAP,)
    one_map, *others = [
        QualityModel(names, *_fitted(cues[:, : len(names)], right), fitted_on, calibrated) for names in kinds
    ]
    return Models(one_map, others[0] if others else None)


_Values = tuple[float, ...]


def _fitted(cues: np.ndarray, right: np.ndarray) -> tuple[_Values, _Values, _Values, float]:
    """Mean, deviation and weight of each cue, and the constant."""
    mean, std = cues.mean(0), cues.std(0)
    std = np.where(std > 0, std, 1)
    design = np.column_stack([np.ones(len(cues)), (cues - mean) / std])
    ridge = np.diag([0.0] + [RIDGE] * cues.shape[1])
    weights = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        probs = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (probs - right) + ridge @ weights
        curvature = design.T @ (design * (probs * (1 - probs))[:, None]) + ridge
        weights = weights - np.linalg.solve(curvature, slope)
    bias, *rest = weights.tolist()
    return tuple(mean.tolist()), tuple(std.tolist()), tuple(rest), bias


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
            try:
                quality[own] = fit(cues[~own], right[~own], "").quality(cues[own])
            except DataError as error:
                raise DataError(
                    f"{len(cues)} boxes are too few to judge a model on boxes that it has not seen: in four fifths, "
                    f"{error}; fit on more images"
                ) from None
    return quality
