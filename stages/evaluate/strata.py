"""GT-known localization of parts of the data: by class, object size, number of objects, border contact.

``update`` counts some images, ``merge`` adds counts of disjoint images, ``compute`` makes metrics of them.
CorLoc follows from the counts by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.boxes.iou import at_least
from stages.evaluate.statistics import bootstrap

SIZES = {"small": 0.0, "medium": 0.1, "large": 0.4}
"""The share of its image from which on the largest box of the label is of that size."""

_GROUPS = {
    "size": tuple(SIZES),
    "objects": ("1", "2", "3+"),
    "border": ("free", "touching"),
}


@dataclass(frozen=True)
class Traits:
    """What strata look at, of images that each have a label and at least one box of it.

    Attributes:
        label: (n,) int, >= 0.
        groups: By kind of stratum, (n,) int, the position in its names.
    """

    label: np.ndarray
    groups: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> Traits:
        """Those of some of the images, by position."""
        return Traits(self.label[rows], {kind: values[rows] for kind, values in self.groups.items()})


def traits(label: np.ndarray, sizes: np.ndarray, boxes: Sequence[np.ndarray]) -> Traits:
    """The strata that images belong to.

    Args:
        label: (n,) labels, >= 0.
        sizes: (n, 2) displayed width and height.
        boxes: n arrays (k, 4), k >= 1, xyxy half-open displayed pixels, of the label.
    """
    counts = np.array([len(image) for image in boxes], np.int64)
    first = np.cumsum(counts) - counts
    edges = np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float64)
    sides = np.repeat(np.asarray(sizes, np.float64).reshape(-1, 2), counts, axis=0)
    share = (edges[:, 2:] - edges[:, :2]).prod(1) / sides.prod(1)
    touching = (edges[:, :2] <= 0).any(1) | (edges[:, 2:] >= sides).any(1)
    if len(counts):
        share, touching = np.maximum.reduceat(share, first), np.logical_or.reduceat(touching, first)
    several = np.asarray(np.minimum(counts, 3) - 1)
    size = np.asarray(np.digitize(share, list(SIZES.values())) - 1)
    return Traits(np.asarray(label), {"size": size, "objects": several, "border": np.asarray(touching, np.int64)})


@dataclass(frozen=True)
class Counts:
    """Images and hits by stratum.

    Attributes:
        n: By kind of stratum, (S,) int64 images; ``class`` is indexed by label.
        hits: By kind, (S, D) int64, how many of them are right at each IoU level.
    """

    n: dict[str, np.ndarray] = field(default_factory=dict)
    hits: dict[str, np.ndarray] = field(default_factory=dict)


def update(images: Traits, ious: np.ndarray, deltas: tuple[float, ...], classes: int, comparator: str = ">=") -> Counts:
    """Count some images.

    Args:
        images: What they are like.
        ious: (n,) float32, IoU of the box for each image's label.
        deltas: IoU levels.
        classes: How many labels there are.
        comparator: Of an overlap with its level.
    """
    right = at_least(ious, deltas, comparator).astype(np.int64)
    members = {"class": (images.label, classes)}
    members |= {kind: (images.groups[kind], len(names)) for kind, names in _GROUPS.items()}
    n = {kind: np.bincount(index, minlength=size) for kind, (index, size) in members.items()}
    hits = {
        kind: np.stack([np.bincount(index[level > 0], minlength=size) for level in right], axis=1)
        for kind, (index, size) in members.items()
    }
    return Counts(n, hits)


def merge(a: Counts, b: Counts) -> Counts:
    """The counts of two disjoint sets of images together."""
    if not a.n or not b.n:
        return a if a.n else b
    return Counts(
        {kind: values + b.n[kind] for kind, values in a.n.items()},
        {kind: values + b.hits[kind] for kind, values in a.hits.items()},
    )


def compute(counts: Counts, deltas: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    """``corloc`` and ``strata`` as ``metrics.json`` has them; nothing where no image was counted.

    Returns:
        ``corloc``: by IoU level, the share of a class's images that are right, averaged over classes
        (Deselaers et al., Localizing objects while learning their appearance, ECCV 2010), with the
        interval of resampled images. ``strata``: by kind and name ``gt_known_loc`` at each level; strata
        without images are absent; ``class`` as columns, one entry a class that has images.
    """
    if not counts.n or not counts.n["class"].any():
        return {}
    n, hits = counts.n["class"], counts.hits["class"]
    some = np.flatnonzero(n)
    names = [f"{delta:g}" for delta in deltas]
    strata: dict[str, Any] = {
        kind: {
            name: bootstrap.proportions(counts.hits[kind][position], counts.n[kind][position], deltas, seed)
            for position, name in enumerate(_GROUPS[kind])
            if counts.n[kind][position]
        }
        for kind in _GROUPS
    }
    strata["class"] = {
        "class_index": some.tolist(),
        "n": n[some].tolist(),
        "hits": {name: hits[some, level].tolist() for level, name in enumerate(names)},
    }
    return {"corloc": corloc(counts, deltas, seed), "strata": strata}


def corloc(counts: Counts, deltas: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    """The first of what :func:`compute` gives, of at least one image."""
    n, hits = counts.n["class"], counts.hits["class"]
    some = n > 0
    return {f"{delta:g}": bootstrap.class_mean(hits[some, level], n[some], seed) for level, delta in enumerate(deltas)}
