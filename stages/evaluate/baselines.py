"""Baselines that a method must beat: predictors that ignore the pixels, scored under the same protocol.

``full_image`` predicts the whole image, with a map that is constant over the network's frame;
``center_gaussian`` uses a Gaussian in the middle of that frame as the map of every image; ``random`` predicts a
box of the image with random edges, and has no map. The best of them is the zero line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.batch import Batch, length, take
from stages.boxes.components import component_box, sweep
from stages.boxes.frame import scored_displayed, scored_empty, scored_in_frame, scored_truth
from stages.boxes.iou import at_least, best_iou
from stages.boxes.protocols import Protocol
from stages.boxes.size_rule import shrunk
from stages.boxes.threshold import heat
from stages.evaluate.blind_maps import BlindMaps
from stages.evaluate.metrics import strata
from stages.evaluate.metrics.boxes import ACCURACIES, BOXES, BoxCounts
from stages.evaluate.metrics.contract import Metric, Scoring
from stages.evaluate.metrics.counts import Counted, Counts
from stages.evaluate.metrics.counts import compute as compute_metrics
from stages.evaluate.metrics.pixels import PIXELS
from stages.evaluate.metrics.strata import STRATA
from stages.evaluate.metrics.sweep import SWEEP, SweepCounts
from stages.evaluate.metrics.table import METRICS
from stages.evaluate.statistics.by_id import uniform
from stages.ingest.geometry import fit_transforms, to_displayed

TITLES = {"full_image": "whole image", "center_gaussian": "centre Gaussian", "random": "random box"}
"""The baselines and their display names."""

SIGMA = 0.25
"""Standard deviation of the centred Gaussian, in sides of the frame. The sweep gives boxes of all sizes, so
MaxBoxAcc hardly depends on it."""


class Baselines:
    """Scores the baselines on batches of images; everything that is the same for all images is computed once."""

    def __init__(
        self,
        protocol: Protocol,
        size: int,
        deltas: tuple[float, ...],
        seed: int = 0,
        fit: str = "squash",
        crop_ratio: float = 1.0,
    ) -> None:
        """Prepare everything that does not depend on the image.

        Args:
            protocol: The rules; all except ``resize`` and ``scales`` apply to the Gaussian.
            size: Side of the network's input frame.
            deltas: IoU levels.
            seed: Seed of the random boxes.
            fit: How an image is fitted to the frame, as for :func:`stages.ingest.geometry.fit_transform`.
            crop_ratio: Share of the short side that ``center_crop`` keeps.
        """
        self.protocol, self.size, self.deltas, self.seed = protocol, size, deltas, seed
        self.fit, self.crop_ratio = fit, crop_ratio
        offset = (np.arange(size) + 0.5) / size - 0.5
        bell = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * SIGMA**2))
        self._maps = BlindMaps("center_gaussian", bell, protocol)
        gaussian = heat(bell, protocol, size)
        # A Gaussian has one component at any threshold, so the chosen contour is the only one.
        swept, _ = sweep(gaussian, protocol)
        self._swept, self._index = np.unique(shrunk(swept, size, protocol.shrink), axis=0, return_inverse=True)
        cut = component_box(gaussian > protocol.cutoffs(np.array([protocol.threshold]))[0], protocol)
        found = np.zeros((1, 4), np.float32) if cut is None else cut[None]
        self._gaussian = shrunk(found, size, protocol.shrink)[0]

    def update(self, images: Batch) -> Counts:
        """Score some images, with each baseline as if it were a method.

        Args:
            images: ``image_id``, which determines the random boxes, ``label``, ``width``, ``height``,
                ``boxes``, ``masks`` and ``ignore`` as :func:`pipeline.store.manifest.read_shard` gives them;
                images without boxes are not counted.
        """
        images = take(images, np.array([len(boxes) > 0 for boxes in images["boxes"]], bool))
        if not length(images):
            return Counts()
        transforms = fit_transforms(images["width"], images["height"], self.size, self.fit, self.crop_ratio)
        truth = _Truth(images, transforms, self.protocol, self.size)
        edges = np.column_stack([images["width"], images["height"]] * 2).astype(np.float64)
        overlaps = {
            "full_image": truth.of_displayed(edges * [0, 0, 1, 1]),
            "center_gaussian": truth.of_frame(self._gaussian),
            "random": truth.of_displayed(self.random_boxes(images["image_id"]) * edges / self.size),
        }
        ious = {name: values.astype(np.float32) for name, values in overlaps.items()}
        right = {name: at_least(values, self.deltas, self.protocol.iou_comparator).T for name, values in ious.items()}
        # No class is predicted: top-1 and top-5 have no images.
        known = np.arange(len(ACCURACIES)) == ACCURACIES.index("gt_known_loc")
        counted: dict[str, Counted] = {
            name: {BOXES.name: BoxCounts(known * len(values), known[:, None] * right[name].sum(0), values)}
            for name, values in ious.items()
        }
        for name, counts in self._maps.update(images, transforms).items():
            counted[name][PIXELS.name] = counts
        hits = np.stack(
            [at_least(truth.of_frame(box), self.deltas, self.protocol.iou_comparator).sum(1) for box in self._swept],
            axis=1,
        )
        hits = hits[:, self._index.reshape(-1)].astype(np.int64)
        counted["center_gaussian"][SWEEP.name] = SweepCounts(length(images), hits)
        sizes = np.column_stack([images["width"], images["height"]])
        for name, own in counted.items():
            own[STRATA.name] = strata.count(images["label"], sizes, list(images["boxes"]), right[name])
        return Counts(methods=counted)

    def random_boxes(self, ids: np.ndarray) -> np.ndarray:
        """Boxes of the frame whose left and right edges are two uniform draws, as are the upper and lower edges.

        The draws depend only on the run's seed and the image's id.

        Args:
            ids: (N,) image ids.

        Returns:
            (N, 4) float32 xyxy whole pixels of the frame, never empty.
        """
        streams = 4 * np.asarray(ids, np.int64)[:, None] + np.arange(4)
        draws = uniform(streams, self.seed).reshape(-1, 2, 2) * self.size
        low, high = np.floor(draws.min(1)), np.ceil(draws.max(1))
        return np.concatenate([low, np.maximum(high, low + 1)], axis=1).astype(np.float32)


class _Truth:
    """Images with ground truth, ready to be scored against boxes as a method's are."""

    def __init__(self, images: Batch, transforms: np.ndarray, protocol: Protocol, size: int) -> None:
        self.sides, self.transforms = (images["width"], images["height"]), transforms
        self.counts = np.array([len(boxes) for boxes in images["boxes"]], np.int64)
        self.protocol = protocol
        self.size = size
        truth = np.concatenate([np.zeros((0, 4)), *images["boxes"]])
        self.boxes = scored_truth(truth, np.repeat(transforms, self.counts, axis=0), protocol, size)

    def of_frame(self, box: np.ndarray) -> np.ndarray:
        """Best IoU (n,) of each image with the (4,) box of the frame, half-open edges."""
        boxes = np.broadcast_to(box, (len(self.counts), 4))
        if self.protocol.frame == "original":
            predicted = to_displayed(boxes, self.transforms, *self.sides)
        else:
            predicted = scored_in_frame(boxes.astype(np.float64), self.protocol, self.size)
        if not box[2] > box[0]:
            predicted[:] = scored_empty(self.protocol)
        return best_iou(predicted, self.boxes, self.counts, self.protocol.iou)

    def of_displayed(self, boxes: np.ndarray) -> np.ndarray:
        """Best IoU (n,) of each image with its own of the (n, 4) boxes, displayed half-open edges."""
        predicted = scored_displayed(boxes, self.transforms, self.protocol, self.size)
        return best_iou(predicted, self.boxes, self.counts, self.protocol.iou)


def compute(counts: Counts, scoring: Scoring) -> dict[str, Any]:
    """The baselines' entries in ``metrics.json``: scores of the boxes, of the maps, and the Gaussian's sweep.

    Args:
        counts: Counts of all images.
        scoring: Scoring of the methods.

    Returns:
        Entries by baseline; empty where no image has ground truth.
    """
    return {
        name: {key: score for key, score in compute_metrics(counted, scoring).items() if key != "strata"}
        for name, counted in counts.methods.items()
    }


def zero_line(baselines: dict[str, Any]) -> dict[str, Any]:
    """The best baseline of each metric: a method that is not above it explains nothing.

    Args:
        baselines: Result of :func:`compute`.

    Returns:
        ``{"baseline", "value"}`` by metric and, where the metric has levels, by IoU level. A metric at a
        fixed threshold has the best baseline at a fixed threshold, one with the oracle's threshold the
        best with the oracle's.
    """

    def best(metric: Metric, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
        choose = max if metric.better == "higher" else min
        name = choose(entries, key=lambda one: entries[one]["value"])
        return {"baseline": name, "value": entries[name]["value"]}

    line: dict[str, Any] = {}
    for metric in METRICS.values():
        having = {name: scores[metric.name] for name, scores in baselines.items() if metric.name in scores}
        if not metric.zero_line or not having:
            continue
        if metric.levels:
            levels = next(iter(having.values()))
            line[metric.name] = {
                delta: best(metric, {name: one[delta] for name, one in having.items()}) for delta in levels
            }
        else:
            line[metric.name] = best(metric, having)
    return line
