"""Maps made again, by other rules or of several networks, from what was stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stages.errors import DataError
from stages.explain.method_layers import method_of
from stages.explain.several_scales import Combination, fused, mean_of
from stages.explain.table import FOREGROUND, FOREGROUND_CAM


@dataclass(frozen=True)
class Rules:
    """What a map depends on besides its parts.

    Attributes:
        fused_below: As in :class:`stages.explain.stage.Explain`.
        combination: As there.
        scales: As there.
    """

    fused_below: float | None
    combination: Combination
    scales: Sequence[float]


@dataclass(frozen=True)
class Stored:
    """What a run stored of a map.

    Attributes:
        map: (h, w) float16, divided by its largest absolute value.
        by_scale: What it was made from; empty where it is one map as it came.
        foreground: The foreground in it, if any.
    """

    map: np.ndarray
    by_scale: Sequence[np.ndarray]
    foreground: Sequence[np.ndarray]


def remade(method: str, stored: Sequence[Stored], before: Sequence[Rules], now: Rules) -> Stored | None:
    """The map of one image, method and class.

    Args:
        method: Entry of ``explain.methods``.
        stored: What each run stored.
        before: Rules of each run.
        now: The rules.

    Returns:
        The map with the parts of all runs, its values not divided by anything; None where the first run's is the map.
    """
    name = method_of(method)
    for one, rules in zip(stored, before, strict=True):
        if len(rules.scales) > 1 and not one.by_scale and name != FOREGROUND and now.fused_below is not None:
            raise DataError("the maps of several scales were stored as their mean, by an earlier version; run it again")
    parts = [part for one in stored for part in one.by_scale or [one.map]]
    foreground = [part for one in stored for part in one.foreground]
    if name == FOREGROUND_CAM:
        if len(stored) == 1 and before[0].combination == now.combination:
            return None
        return Stored(now.combination(foreground, parts), parts, foreground)
    if name == FOREGROUND:
        return None if len(stored) == 1 else Stored(mean_of([one.map for one in stored]), (), ())
    if now.fused_below is not None:
        if len(stored) == 1 and before[0].fused_below == now.fused_below:
            return None
        return Stored(fused(parts, now.fused_below), parts, ())
    means = [
        one.map if rules.fused_below is None else mean_over_scales(one.by_scale, rules.scales)
        for one, rules in zip(stored, before, strict=True)
    ]
    if len(stored) > 1:
        return Stored(mean_of(means), parts, ())
    return None if before[0].fused_below is None else Stored(means[0], parts if len(parts) > 1 else (), ())


def mean_over_scales(maps: Sequence[np.ndarray], scales: Sequence[float]) -> np.ndarray:
    """The mean of a network's maps at several scales, up to a factor, as :mod:`stages.trace.views` takes it.

    Args:
        maps: (h, w) map at each scale, all divided by one number.
        scales: The scales.

    Returns:
        (h, w) float32 on the grid at scale 1.
    """
    if len(maps) == 1:
        return maps[0].astype(np.float32)
    near = min(range(len(scales)), key=lambda at: abs(scales[at] - 1))
    height, width = (round(side / scales[near]) for side in maps[near].shape)
    sized = [Image.fromarray(one.astype(np.float32)) for one in maps]
    total = sum(np.asarray(one.resize((width, height), Image.Resampling.BILINEAR)) for one in sized)
    return np.asarray(total / len(maps), np.float32)
