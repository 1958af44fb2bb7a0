"""Metrics of the whole map, not of its box: pointing game, energy pointing game, PxAP."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.batch import Batch, take
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.metrics.packing import pack, unpack
from stages.evaluate.statistics import bootstrap
from stages.evaluate.statistics.by_id import mixed

GROUPS = 64
"""Number of groups of images, by id, that PxAP's interval resamples; its width is then right to about 9 %."""


@dataclass(frozen=True)
class PixelCounts:
    """Counts for the metrics of one method's maps.

    Attributes:
        pointing: Pairs (images, hits) by class.
        energy: (n,) float32 shares.
        masks: Number of images with masks.
        pixels: Pixels by group of images, one of :data:`GROUPS` by their ids, (2, bins) int64, summed over
            those with masks.
    """

    pointing: dict[int, tuple[int, int]] = field(default_factory=dict)
    energy: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    masks: int = 0
    pixels: dict[int, np.ndarray] = field(default_factory=dict)


class _Pixels(Counter[PixelCounts]):
    name = "pixels"
    reads = ("iou", "pointing", "energy", "pixel_counts")

    def update(self, rows: Batch) -> PixelCounts:
        """Count the maps of labels whose images have a box."""
        own = take(rows, (rows["target_rank"] == 0) & (rows["label"] >= 0) & ~np.isnan(rows["iou"]))
        return count(own)

    def merge(self, a: PixelCounts, b: PixelCounts) -> PixelCounts:
        pointing = dict(a.pointing)
        for one, (images, hits) in b.pointing.items():
            before = pointing.get(one, (0, 0))
            pointing[one] = before[0] + images, before[1] + hits
        pixels = {
            group: sum((one.pixels[group] for one in (a, b) if group in one.pixels), np.zeros(1, np.int64))
            for group in a.pixels.keys() | b.pixels.keys()
        }
        return PixelCounts(pointing, np.concatenate([a.energy, b.energy]), a.masks + b.masks, pixels)

    def compute(self, counts: PixelCounts, scoring: Scoring) -> dict[str, Any]:
        """Compute ``pointing_game``, ``energy_pointing_game`` and ``pxap``.

        Returns:
            The pointing game is averaged over classes, with images and hits of each. A metric that no image
            counts for is absent, as is PxAP where no pixel of an object is left. Its interval is of resampled
            groups of images, since pixels of so many images as there are cannot be kept apart.
        """
        metrics: dict[str, Any] = {}
        if counts.pointing:
            classes = sorted(counts.pointing)
            n, hits = (np.array([counts.pointing[one][column] for one in classes]) for column in (0, 1))
            by_class = {"class_index": classes, "n": n.tolist(), "hits": hits.tolist()}
            metrics["pointing_game"] = bootstrap.class_mean(hits, n, scoring.seed) | {"class": by_class}
        if len(counts.energy):
            metrics["energy_pointing_game"] = bootstrap.mean(counts.energy, scoring.seed)
        groups = [counts.pixels[group] for group in sorted(counts.pixels)]
        if any(pixels[1].any() for pixels in groups):
            summed = np.stack(groups)
            metrics["pxap"] = bootstrap.of_sums(pixel_average_precision, summed, counts.masks, scoring.seed)
        return metrics

    def to_plain(self, counts: PixelCounts) -> dict[str, Any]:
        return {
            "pointing": [[one, *pair] for one, pair in sorted(counts.pointing.items())],
            "energy": pack(counts.energy),
            "masks": counts.masks,
            "pixels": [[group, _packed(pixels)] for group, pixels in sorted(counts.pixels.items())],
        }

    def from_plain(self, plain: Any) -> PixelCounts:
        return PixelCounts(
            {one: (images, hits) for one, images, hits in plain["pointing"]},
            unpack(plain["energy"]),
            plain["masks"],
            {group: _unpacked(text) for group, text in plain["pixels"]},
        )


PIXELS = _Pixels()


def count(rows: Batch) -> PixelCounts:
    """Count rows of one method, one an image.

    Args:
        rows: ``image_id``, ``label`` and the columns that :class:`stages.evaluate.pixels.Pixels` adds.
    """
    scored = ~np.isnan(rows["pointing"])
    classes, index = np.unique(rows["label"][scored], return_inverse=True)
    n = np.bincount(index, minlength=len(classes))
    hits = np.bincount(index, rows["pointing"][scored], len(classes)).astype(np.int64)
    having = [row for row, counts in enumerate(rows["pixel_counts"]) if counts is not None]
    groups = (mixed(rows["image_id"][having]) % np.uint64(GROUPS)).astype(np.int64)
    pixels = {
        group: np.sum([rows["pixel_counts"][having[at]] for at in np.flatnonzero(groups == group)], axis=0)
        for group in np.unique(groups).tolist()
    }
    return PixelCounts(
        {one: (images, right) for one, images, right in zip(classes.tolist(), n.tolist(), hits.tolist(), strict=True)},
        rows["energy"][scored],
        len(having),
        pixels,
    )


def _packed(counts: np.ndarray) -> str:
    """Counts (2, bins) int64 as text. Most bins of a few images are empty or small, so it is compressed."""
    return base64.b64encode(zlib.compress(counts.astype("<i8").tobytes())).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8").reshape(2, -1)


def pixel_average_precision(pixels: np.ndarray) -> np.ndarray:
    """PxAP in [0, 1]: the area under precision and recall of pixels pooled over all images.

    Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 4.2: the
    sum over thresholds of precision x gain of recall, without interpolation.

    Args:
        pixels: (..., 2, bins) pixels of the background and of the object, by rising score.

    Returns:
        (...) values, NaN where no pixel is of an object.

    >>> float(pixel_average_precision(np.array([[6, 0], [2, 2]])))  # half the object at once, the rest among all
    0.7
    """
    background, found = np.moveaxis(np.cumsum(pixels[..., ::-1], axis=-1, dtype=np.float64), -2, 0)
    chosen = background + found
    precision = np.divide(found, chosen, out=np.zeros_like(found), where=chosen > 0)
    total = (precision * np.diff(found, prepend=0)).sum(-1)
    area: np.ndarray = np.divide(total, found[..., -1], out=np.full_like(total, np.nan), where=found[..., -1] > 0)
    return area
