"""What a map and its box say about how far the box can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from stages.boxes.components import component_box
from stages.boxes.iou import iou
from stages.boxes.protocols import Protocol
from stages.boxes.threshold import heat

OF_ONE_MAP = ("area", "log_area", "stability", "prob", "border_heat", "border_contact")
"""Names of the cues that every box has."""
CUES = (*OF_ONE_MAP, "scale_agreement")
"""Names of all cues, in the order of :func:`cues_of`."""

_SIDE = 56
"""Side of the frame in which the cues are found: whole pixels of it are exact enough, and a quarter of the work."""
_RING = 2
_OTHER = (0.75, 1.25)
"""Shares of the threshold at which the box is cut again."""


def cues_of(map: np.ndarray, prob: float, protocol: Protocol, by_scale: Sequence[np.ndarray] = ()) -> np.ndarray | None:
    """The cues of the box that is cut from a map.

    Args:
        map: (h, w), as stored.
        prob: Probability of its class.
        protocol: The rules by which its box is cut.
        by_scale: (h, w) maps that it was made from, at several scales or of several networks, if it was.

    Returns:
        (7,) float64, as :data:`CUES` names them: the box's share of the image and its logarithm; the mean overlap with
        the boxes at three quarters and five quarters of the threshold; the probability; the mean of the heat along the
        border of the image, negative values as 0; the share of the four borders that the box touches; the mean overlap
        of the boxes that the maps of two scales give alone, NaN unless there are two, and where
        the rules look at the scale of a map. None where there is no box.
    """
    values = heat(map, protocol, _SIDE)
    own, *others = (_box(values, protocol, protocol.threshold * share) for share in (1.0, *_OTHER))
    if own is None:
        return None
    width, height = own[2:] - own[:2]
    area = max(float(width * height) / _SIDE**2, 1 / _SIDE**2)
    stability = np.mean([0.0 if other is None else iou(own, other) for other in others])
    ring = np.ones((_SIDE, _SIDE), bool)
    ring[_RING:-_RING, _RING:-_RING] = False
    contact = np.mean([*(own[:2] <= 0), *(own[2:] >= _SIDE)])
    border_heat = values[ring].clip(0).mean()
    return np.array([area, np.log(area), stability, prob, border_heat, contact, _agreement(by_scale, protocol)])


def _agreement(maps: Sequence[np.ndarray], protocol: Protocol) -> float:
    if protocol.normalize == "none":  # The maps are stored without their scale, which matters there.
        return np.nan
    boxes = [_box(heat(one, protocol, _SIDE), protocol, protocol.threshold) for one in maps]
    pairs = [0.0 if one is None or other is None else float(iou(one, other)) for one, other in combinations(boxes, 2)]
    return float(np.mean(pairs)) if pairs else np.nan


def _box(values: np.ndarray, protocol: Protocol, threshold: float) -> np.ndarray | None:
    cutoff = protocol.cutoffs(np.array([min(threshold, 0.99)]))[0]
    return component_box(values > cutoff, protocol, values)
