"""Localization accuracy, mean IoU and the threshold sweep, counted shard by shard.

``update`` counts some images, ``merge`` adds counts of disjoint images in any order, ``compute`` makes
metrics of them. Counts travel as text in between.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from stages.batch import Batch, length, take
from stages.boxes.protocols import Protocol
from stages.evaluate import classification, clsloc, curve, pixels
from stages.evaluate.statistics import bootstrap

_METRICS = ("gt_known_loc", "top1_loc", "top5_loc")


@dataclass(frozen=True)
class MethodCounts:
    """What one method's metrics are made of. Only images with a label and a box of it count.

    Attributes:
        images: (3,) int64, images with a row for GT-known, top-1, top-5 localization.
        hits: (3, D) int64, how many of them are right at each IoU level.
        ious: (n,) float32, IoU of the box of each image's label.
        swept: Images with a threshold sweep.
        sweep_hits: (D, T) int64, how many of them are right at each IoU level and threshold; None
            without a sweep.
        sweep_hits_v2: The same for MaxBoxAccV2, None where it looks at the same boxes.
        pixels: Of the maps themselves.
    """

    images: np.ndarray
    hits: np.ndarray
    ious: np.ndarray
    swept: int = 0
    sweep_hits: np.ndarray | None = None
    sweep_hits_v2: np.ndarray | None = None
    pixels: pixels.Counts = field(default_factory=pixels.Counts)


@dataclass(frozen=True)
class Counts:
    """What all metrics of some images are made of."""

    classification: classification.Counts = field(default_factory=classification.Counts)
    methods: dict[str, MethodCounts] = field(default_factory=dict)

    def to_json(self) -> str:
        """A compact text, equal for equal counts."""
        plain = {
            "classification": asdict(self.classification),
            "methods": {
                method: {
                    "images": counts.images.tolist(),
                    "hits": counts.hits.tolist(),
                    "ious": base64.b64encode(counts.ious.astype("<f4").tobytes()).decode(),
                    "swept": counts.swept,
                    "sweep_hits": None if counts.sweep_hits is None else counts.sweep_hits.tolist(),
                    "sweep_hits_v2": None if counts.sweep_hits_v2 is None else counts.sweep_hits_v2.tolist(),
                    "pixels": counts.pixels.to_plain(),
                }
                for method, counts in self.methods.items()
            },
        }
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """What :meth:`to_json` wrote."""
        plain = json.loads(text)

        def sweep(values: list | None) -> np.ndarray | None:
            return None if values is None else np.array(values, np.int64)

        return cls(
            classification.Counts(**plain["classification"]),
            {
                method: MethodCounts(
                    images=np.array(counts["images"], np.int64),
                    hits=np.array(counts["hits"], np.int64),
                    ious=np.frombuffer(base64.b64decode(counts["ious"]), "<f4"),
                    swept=counts["swept"],
                    sweep_hits=sweep(counts["sweep_hits"]),
                    sweep_hits_v2=sweep(counts["sweep_hits_v2"]),
                    pixels=pixels.Counts.from_plain(counts["pixels"]),
                )
                for method, counts in plain["methods"].items()
            },
        )


def update(rows: Batch) -> Counts:
    """Count rows that hold all predictions of each of their images.

    A row is right at an IoU level where its class is the label and its box reaches the level. GT-known
    looks at the label's own row; top-1 at the first prediction's; top-5 at the first five, of which one
    must be right, and does not count images that have fewer.

    Args:
        rows: Columns ``image_id``, ``method``, ``target_rank``, ``class_index``, ``label`` and those that
            :class:`stages.evaluate.stage.Evaluate` adds. May be empty.
    """
    if not length(rows):
        return Counts()
    counted = (rows["label"] >= 0) & ~np.isnan(rows["iou"])
    right = rows["hits"] & (rows["class_index"] == rows["label"])[:, None]
    methods = {
        method: _count(rows, right, counted & (rows["method"] == method)) for method in sorted(set(rows["method"]))
    }
    return Counts(classification.update(rows), methods)


def _count(rows: Batch, right: np.ndarray, own: np.ndarray) -> MethodCounts:
    ranks, ids = rows["target_rank"], rows["image_id"]
    known, first = own & (ranks == 0), own & (ranks == 1)
    five = own & (ranks >= 1) & (ranks <= 5) & np.isin(ids, ids[own & (ranks == 5)])
    images, index = np.unique(ids[five], return_inverse=True)
    any_right = np.zeros((len(images), right.shape[1]), bool)
    np.logical_or.at(any_right, index, right[five])
    swept = [row for row in np.flatnonzero(own) if rows["sweep_hits"][row] is not None]
    return MethodCounts(
        images=np.array([known.sum(), first.sum(), len(images)]),
        hits=np.stack([right[known].sum(0), right[first].sum(0), any_right.sum(0)]),
        ious=rows["iou"][known],
        swept=len(swept),
        sweep_hits=_total(rows["sweep_hits"][swept]),
        sweep_hits_v2=_total(rows["sweep_hits_v2"][swept]),
        pixels=pixels.update(take(rows, known)) if "pointing" in rows else pixels.Counts(),
    )


def _total(hits: np.ndarray) -> np.ndarray | None:
    """Sum of the (D, T) entries of an object column, None where it has none."""
    return None if not len(hits) or hits[0] is None else np.stack(list(hits)).sum(0, dtype=np.int64)


def merge(a: Counts, b: Counts) -> Counts:
    """The counts of two disjoint sets of images together."""
    both = {method: _add(a.methods[method], b.methods[method]) for method in a.methods.keys() & b.methods.keys()}
    methods = {**a.methods, **b.methods, **both}
    return Counts(
        classification.merge(a.classification, b.classification),
        {method: methods[method] for method in sorted(methods)},
    )


def _add(a: MethodCounts, b: MethodCounts) -> MethodCounts:
    def total(x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray | None:
        return y if x is None else x if y is None else x + y

    return MethodCounts(
        images=a.images + b.images,
        hits=a.hits + b.hits,
        ious=np.concatenate([a.ious, b.ious]),
        swept=a.swept + b.swept,
        sweep_hits=total(a.sweep_hits, b.sweep_hits),
        sweep_hits_v2=total(a.sweep_hits_v2, b.sweep_hits_v2),
        pixels=pixels.merge(a.pixels, b.pixels),
    )


def compute(counts: Counts, protocol: Protocol, deltas: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    """``classification`` and ``methods`` as ``metrics.json`` has them.

    Args:
        counts: Of the whole run.
        protocol: That the boxes were made and scored under.
        deltas: The IoU levels that were counted.
        seed: Of the intervals.

    Returns:
        A metric that no image counts for is absent.
    """
    return {
        "classification": classification.compute(counts.classification, seed),
        "methods": {method: _metrics(own, protocol, deltas, seed) for method, own in sorted(counts.methods.items())},
    }


def _metrics(counts: MethodCounts, protocol: Protocol, deltas: tuple[float, ...], seed: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        name: bootstrap.proportions(hits, images, deltas, seed)
        for name, images, hits in zip(_METRICS, counts.images, counts.hits, strict=True)
        if images
    }
    if protocol.official == "clsloc":
        metrics |= clsloc.error_rates(metrics)
    if len(counts.ious):
        metrics["mean_iou"] = bootstrap.mean(counts.ious, seed)
    if counts.sweep_hits is not None:
        thresholds = protocol.sweep_thresholds()
        metrics |= curve.box_accuracy(counts.swept, counts.sweep_hits, thresholds, deltas, counts.sweep_hits_v2, seed)
    return metrics | pixels.compute(counts.pixels, seed)


def at_thresholds(
    counts: MethodCounts, protocol: Protocol, chosen: dict[str, float], deltas: tuple[float, ...], seed: int = 0
) -> dict[str, Any]:
    """GT-known localization at thresholds that were chosen elsewhere.

    Args:
        counts: Of one method.
        protocol: That the boxes were made and scored under.
        chosen: Threshold by IoU level, each one of the protocol's sweep.
        deltas: The IoU levels that were counted.
        seed: Of the intervals.

    Returns:
        ``gt_known_loc_calibrated``: value, interval, n and threshold by IoU level; nothing without a sweep.
    """
    if counts.sweep_hits is None:
        return {}
    thresholds = protocol.sweep_thresholds()
    found = {}
    for level, delta in enumerate(deltas):
        threshold = chosen[f"{delta:g}"]
        hits = counts.sweep_hits[level, np.abs(thresholds - threshold).argmin()]
        found[f"{delta:g}"] = bootstrap.proportion(hits, counts.swept, seed) | {"threshold": threshold}
    return {"gt_known_loc_calibrated": found}
