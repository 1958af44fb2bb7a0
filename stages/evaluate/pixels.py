"""The whole map against the object: against masks where the dataset has some, else against boxes.

:mod:`stages.evaluate.metrics.pixels` counts what is found here.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stages.batch import Batch, Resources, ragged
from stages.boxes.protocols import Protocol
from stages.boxes.threshold import heat
from stages.ingest import run_lengths as masks
from stages.ingest.geometry import to_input

TOLERANCE = 15
"""Displayed pixels from the object below which a point hits it (Zhang et al., Top-down neural attention by
excitation backprop, ECCV 2016; TorchRay)."""


class Pixels:
    """Scores the map of each image's label.

    Adds ``pointing`` (R,) float32, 1 where the maximum lies less than :data:`TOLERANCE` pixels from the
    object and 0 elsewhere; ``energy`` (R,) float32, the share of the map's positive values that lies on the
    object; ``pixel_counts`` (R,) object, (2, bins) int64, pixels of the background and of the object by
    score, where the image has masks. NaN and None for rows of other targets or without ground truth.

    A map without a maximum (empty, constant, not finite) points nowhere and misses. Ignored regions count
    neither for energy nor for PxAP.
    """

    reads = (
        *("target_rank", "label", "boxes", "masks", "ignore", "map", "heat", "box_status"),
        *("transform", "width", "height"),
    )
    adds = ("pointing", "energy", "pixel_counts")
    resources = Resources(cpus=1)

    def __init__(self, protocol: Protocol, size: int) -> None:
        """Prepare the stage.

        Args:
            protocol: Rules; the map is scored before it is quantized, and ``sweep_interval`` is PxAP's step.
            size: Side of the network's input frame.
        """
        self.size = size
        self.edges = bin_edges(protocol)
        self.exact = replace(protocol, quantize="none") if protocol.quantize != "none" else None

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Score every row that is the label's."""
        rows = len(batch["target_rank"])
        pointing, energy = np.full(rows, np.nan, np.float32), np.full(rows, np.nan, np.float32)
        counts = ragged([None] * rows)
        for row in np.flatnonzero((batch["target_rank"] == 0) & (batch["label"] >= 0)).tolist():
            if len(batch["boxes"][row]):
                truth = Truth(batch, row)
                pointing[row] = self._points(batch, row, truth)
                energy[row], counts[row] = self._areas(batch, row, truth)
        return {**batch, "pointing": pointing, "energy": energy, "pixel_counts": counts}

    def _points(self, batch: Batch, row: int, truth: Truth) -> bool:
        if batch["box_status"][row] != "ok":
            return False
        y, x = divmod(int(batch["heat"][row].argmax()), self.size)  # the first in raster order among equals
        point = (np.array([x, y]) + 0.5 - batch["transform"][row][2:]) / batch["transform"][row][:2]
        return truth.distance(point) < TOLERANCE

    def _areas(self, batch: Batch, row: int, truth: Truth) -> tuple[float, np.ndarray | None]:
        """Share of energy on the object, and pixels by score."""
        values = np.maximum(batch["heat"][row], 0)
        inside, ignored = truth.in_frame(batch["transform"][row], self.size)
        energy = energy_share(values, inside, ignored)
        if truth.mask is None:
            return energy, None
        scores = values
        if self.exact is not None and batch["box_status"][row] == "ok":
            scores = np.maximum(heat(batch["map"][row], self.exact, self.size), 0)
        return energy, pixel_counts(scores, inside, ignored, self.edges)


class Truth:
    """One image's ground truth: the union of its boxes, or of its masks."""

    def __init__(self, batch: Batch, row: int) -> None:
        size = int(batch["width"][row]), int(batch["height"][row])
        parts, ignore = batch["masks"][row], batch["ignore"][row]
        self.boxes = np.asarray(batch["boxes"][row], np.float64)
        self.mask = masks.decode(parts, *size) if parts else None
        # Where an ignored region overlaps the object, it is the object.
        self.ignored = masks.decode([ignore], *size) & ~self.mask if ignore and self.mask is not None else None

    def distance(self, point: np.ndarray) -> float:
        """Distance in displayed pixels from a point to the centre of the object's nearest pixel; inf beyond the
        tolerance."""
        if self.mask is None:
            return float(box_distances(point, self.boxes).min())
        left, top = (max(0, int(np.floor(edge - TOLERANCE - 1))) for edge in point)
        right, bottom = (max(0, int(np.ceil(edge + TOLERANCE + 1))) for edge in point)
        ys, xs = np.nonzero(self.mask[top:bottom, left:right])
        if not len(xs):
            return np.inf
        return float(np.sqrt((xs + left + 0.5 - point[0]) ** 2 + (ys + top + 0.5 - point[1]) ** 2).min())

    def in_frame(self, transform: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The object and the ignored region, (size, size) bool, in the network's input frame.

        A pixel belongs to a box that contains its centre. Masks are sampled like OpenCV's ``INTER_NEAREST``, which the
        published evaluation code uses: at the pixel's upper left corner, with its rounding.
        """
        if self.mask is None:
            inside = np.zeros((size, size), bool)
            for x0, y0, x1, y1 in box_pixels(self.boxes, transform, size):
                inside[y0:y1, x0:x1] = True
            return inside, None
        height, width = self.mask.shape
        xs, ys = (
            np.floor((np.arange(size) - transform[2 + axis]) * (1 / transform[axis])).astype(np.int64)
            for axis in (0, 1)
        )
        there = ((ys >= 0) & (ys < height))[:, None] & ((xs >= 0) & (xs < width))
        at = np.ix_(np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1))
        return self.mask[at] & there, None if self.ignored is None else self.ignored[at] & there


def box_pixels(boxes: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """(n, 4) int64 half-open xyxy: the pixels of the network's input frame whose centres are in displayed boxes.

    Args:
        boxes: (n, 4) xyxy.
        transform: (n, 4), displayed pixels to the frame, or (4,) for all.
        size: Side of the frame.
    """
    return np.clip(np.ceil(to_input(boxes, transform) - 0.5), 0, size).astype(np.int64)


def box_distances(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Distance (n,) in displayed pixels from points to the centre of the nearest pixel of each box.

    Args:
        points: (n, 2) x, y, or (2,) for all.
        boxes: (n, 4) xyxy.
    """
    inset = np.minimum(0.5, (boxes[:, 2:] - boxes[:, :2]) / 2)  # half a pixel, from edge to centre
    low, high = boxes[:, :2] + inset, boxes[:, 2:] - inset
    away = np.maximum(np.maximum(low - points, points - high), 0)
    distances: np.ndarray = np.sqrt((away**2).sum(1))
    return distances


def energy_share(values: np.ndarray, inside: np.ndarray, ignored: np.ndarray | None) -> float:
    """Share of a map's sum that lies on the object, 0 where the sum is.

    Args:
        values: (h, w) float32, at least 0.
        inside: (h, w) bool, the object.
        ignored: (h, w) bool, pixels that do not count, or None.
    """
    if ignored is not None:
        values = np.where(ignored, 0, values)
    total = cv2.sumElems(values)[0]  # in float64
    return cv2.sumElems(values * inside)[0] / total if total > 0 else 0.0


def bin_edges(protocol: Protocol) -> np.ndarray:
    """Left edges of PxAP's bins of scores: 0, step, ... below 1, then 1 and 2, as the published code has them."""
    return np.append(np.arange(0, 1, protocol.sweep_interval), [1.0, 2.0])


def pixel_counts(scores: np.ndarray, inside: np.ndarray, ignored: np.ndarray | None, edges: np.ndarray) -> np.ndarray:
    """Counts (2, bins) int64 of pixels of the background and of the object, by score.

    Args:
        scores: (h, w), at least 0.
        inside: (h, w) bool, the object.
        ignored: (h, w) bool, pixels that do not count, or None.
        edges: (bins,) of :func:`bin_edges`.
    """
    counted = slice(None) if ignored is None else ~ignored.reshape(-1)
    bins = np.searchsorted(edges, scores.reshape(-1)[counted], side="right") - 1
    index = bins + len(edges) * inside.reshape(-1)[counted]
    return np.bincount(index, minlength=2 * len(edges)).reshape(2, -1)
