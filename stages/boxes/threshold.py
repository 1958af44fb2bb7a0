"""From stored low-resolution maps to foreground masks in the network's input frame."""

from __future__ import annotations

import cv2
import numpy as np

from stages.batch import Batch, Resources, ragged
from stages.boxes.protocols import LEVELS, Protocol

_KERNELS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def heat(map: np.ndarray, protocol: Protocol, size: int) -> np.ndarray:
    """Resize a map to the network's input frame and normalise it.

    A map that cannot be normalised is all 0: one with a value that is not finite, one without a
    positive value under ``max``, a constant one under ``minmax`` and ``ivr``. A constant positive map under
    ``max`` is all 1: by definition every pixel is then above any share of the maximum.

    Args:
        map: (h, w) floating point; its scale matters only under ``normalize: none``.
        protocol: Rules; ``resize``, ``normalize`` and ``quantize`` apply.
        size: Side of the square input frame in pixels.

    Returns:
        (size, size) float32 with maximum 1 or all 0, except under ``none``. Under ``max`` and ``none`` negative
        values stay negative; a quantized map holds multiples of 1/255.
    """
    # The published code of the quantized protocol works in float64, and truncation would reveal a difference.
    values: np.ndarray = map.astype(np.float64 if protocol.quantize == "uint8" else np.float32)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return np.zeros((size, size), np.float32)
    constant = low == high  # Before the kernel's rounding can turn a constant into a pattern.
    if constant and protocol.normalize != "none":
        return np.full((size, size), high > 0 and protocol.normalize == "max", np.float32)
    resized: np.ndarray
    if constant:
        resized = np.full((size, size), high)
    else:
        resized = cv2.resize(values, (size, size), interpolation=_KERNELS[protocol.resize])
    if protocol.normalize == "minmax":
        resized -= resized.min()
    elif protocol.normalize == "ivr":
        place = int(resized.size * protocol.percentile)
        resized = np.maximum(resized - np.partition(resized, place, axis=None)[place], 0)
    if protocol.normalize != "none":
        high = resized.max()
        if not high > 0:
            return np.zeros((size, size), np.float32)
        resized /= high
    if protocol.quantize == "uint8":
        resized = np.trunc(resized * LEVELS) / LEVELS
    return resized.astype(np.float32, copy=False)


def box_status(map: np.ndarray, heat: np.ndarray) -> str:
    """Classify a map by whether a box can be cut from it.

    Args:
        map: (h, w), as stored.
        heat: Result of :func:`heat` for the map.

    Returns:
        ``non_finite``; ``constant_map``, where all values are one positive value; ``empty_map``, where
        nothing can be foreground at any threshold; ``ok``.
    """
    low, high = map.min(), map.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "non_finite"
    if low == high and high > 0:
        return "constant_map"
    return "ok" if heat.max() > 0 else "empty_map"


class Threshold:
    """Cuts every map at the protocol's share of its maximum, on the protocol's frame.

    Adds ``heat`` (R, side, side) float32, ``mask`` (R, side, side) bool and ``box_status`` (R,) str. Where there is a
    ``transform``, it then leads into that frame.

    Args:
        protocol: The rules.
        size: Side of the network's input frame, into which ``transform`` leads before.
    """

    reads = ("map", "map_scale")
    adds = ("heat", "mask", "box_status")
    resources = Resources(cpus=1)

    def __init__(self, protocol: Protocol, size: int) -> None:
        self.protocol = protocol
        self.size, self.zoom = protocol.frame_side(size), protocol.frame_side(size) / size

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Normalise and threshold each row's map on its own."""
        rows = len(batch["map"])
        heats = np.empty((rows, self.size, self.size), np.float32)
        status = []
        for row, (map, scale) in enumerate(zip(batch["map"], batch["map_scale"], strict=True)):
            # Most rules ignore a map's scale, but a non-finite scale means that its map was not finite.
            usable = map if np.isfinite(scale) else np.full_like(map, np.nan)
            if self.protocol.normalize == "none":
                usable = usable.astype(np.float32) * scale
            heats[row] = heat(usable, self.protocol, self.size)
            status.append(box_status(usable, heats[row]))
        cutoff = self.protocol.cutoffs(np.array([self.protocol.threshold]))[0]
        if self.zoom != 1 and "transform" in batch:
            batch = batch | {"transform": batch["transform"] * self.zoom}
        return {**batch, "heat": heats, "mask": heats > cutoff, "box_status": ragged(status)}
