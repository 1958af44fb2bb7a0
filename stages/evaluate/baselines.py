"""What a method must beat: predictors that look at no pixel, scored under the same protocol.

``full_image`` predicts the whole image, with a map that is the same all over the network's frame;
``center_gaussian`` has a Gaussian in the middle of that frame as everybody's map; ``random`` predicts a box of
the image with random edges, and has no map. The best of them is the zero line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.batch import Batch, length, take
from stages.boxes.components import component_box, sweep
from stages.boxes.frame import scored_displayed, scored_empty, scored_in_frame, scored_truth
from stages.boxes.iou import at_least, best_iou
from stages.boxes.protocols import Protocol
from stages.boxes.threshold import heat
from stages.evaluate import curve, pixels
from stages.evaluate.blind_maps import BlindMaps
from stages.evaluate.statistics import bootstrap
from stages.evaluate.statistics.by_id import uniform
from stages.ingest.geometry import fit_transforms, to_displayed

NAMES = ("full_image", "center_gaussian", "random")

_METRICS = (
    *("gt_known_loc", "mean_iou", "corloc", "max_box_acc", "max_box_acc_v2"),
    *("pointing_game", "energy_pointing_game", "pxap"),
)
"""That have a zero line."""

SIGMA = 0.25
"""Of the centred Gaussian, in sides of the frame. The sweep gives boxes of all sizes, so that MaxBoxAcc
hardly depends on it."""


@dataclass(frozen=True)
class Counts:
    """What the baselines' scores are made of. Only images with ground truth count.

    Attributes:
        ious: (n,) float32 by name of the baseline.
        sweep_hits: (D, T) int64, how many images the Gaussian is right on at each IoU level and
            threshold; None before the first image.
        pixels: Of the maps of those that have one, by name.
    """

    ious: dict[str, np.ndarray] = field(default_factory=dict)
    sweep_hits: np.ndarray | None = None
    pixels: dict[str, pixels.Counts] = field(default_factory=dict)


class Baselines:
    """Scores the baselines on some images at a time; what is the same for all images is computed once."""

    def __init__(
        self,
        protocol: Protocol,
        size: int,
        deltas: tuple[float, ...],
        seed: int = 0,
        fit: str = "squash",
        crop_ratio: float = 1.0,
    ) -> None:
        """Prepare what does not depend on the image.

        Args:
            protocol: The rules; to the Gaussian all but ``resize`` apply.
            size: Side of the network's input frame.
            deltas: IoU levels.
            seed: Of the random boxes.
            fit: How an image becomes the frame, as for :func:`stages.ingest.geometry.fit_transform`.
            crop_ratio: Of ``center_crop``.
        """
        self.protocol, self.size, self.deltas, self.seed = protocol, size, deltas, seed
        self.fit, self.crop_ratio = fit, crop_ratio
        offset = (np.arange(size) + 0.5) / size - 0.5
        bell = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * SIGMA**2))
        self._maps = BlindMaps("center_gaussian", bell, protocol)
        gaussian = heat(bell, protocol, size)
        # A Gaussian has one component at any threshold, so all contours are the chosen one.
        swept, _ = sweep(gaussian, protocol)
        self._swept, self._index = np.unique(swept, axis=0, return_inverse=True)
        cut = component_box(gaussian > protocol.cutoffs(np.array([protocol.threshold]))[0], protocol)
        self._gaussian = np.zeros(4, np.float32) if cut is None else cut

    def update(self, images: Batch) -> Counts:
        """Score some images.

        Args:
            images: ``image_id``, from which the random boxes follow, ``label``, ``width``, ``height``,
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
        hits = np.stack(
            [at_least(truth.of_frame(box), self.deltas, self.protocol.iou_comparator).sum(1) for box in self._swept],
            axis=1,
        )
        return Counts(
            {name: values.astype(np.float32) for name, values in overlaps.items()},
            hits[:, self._index.reshape(-1)].astype(np.int64),
            self._maps.update(images, transforms),
        )

    def random_boxes(self, ids: np.ndarray) -> np.ndarray:
        """Boxes of the frame whose left and right edges are two uniform draws each, and so the other two.

        The draws follow from the run's seed and the image's id alone.

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
        """(n,) best IoU of each image with the (4,) box of the frame, half-open edges."""
        boxes = np.broadcast_to(box, (len(self.counts), 4))
        if self.protocol.frame == "original":
            predicted = to_displayed(boxes, self.transforms, *self.sides)
        else:
            predicted = scored_in_frame(boxes.astype(np.float64), self.protocol, self.size)
        if not box[2] > box[0]:
            predicted[:] = scored_empty(self.protocol)
        return best_iou(predicted, self.boxes, self.counts, self.protocol.iou)

    def of_displayed(self, boxes: np.ndarray) -> np.ndarray:
        """(n,) best IoU of each image with its own of the (n, 4) boxes, displayed half-open edges."""
        predicted = scored_displayed(boxes, self.transforms, self.protocol, self.size)
        return best_iou(predicted, self.boxes, self.counts, self.protocol.iou)


def merge(a: Counts, b: Counts) -> Counts:
    """The counts of two disjoint sets of images together."""
    if a.sweep_hits is None or b.sweep_hits is None:
        return b if a.sweep_hits is None else a
    ious = {name: np.concatenate([values, b.ious[name]]) for name, values in a.ious.items()}
    maps = {name: pixels.merge(counts, b.pixels[name]) for name, counts in a.pixels.items()}
    return Counts(ious, a.sweep_hits + b.sweep_hits, maps)


def compute(counts: Counts, protocol: Protocol, deltas: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    """The baselines as ``metrics.json`` has them: scores of the boxes, of the maps, and the Gaussian's sweep.

    Args:
        counts: Of all images.
        protocol: That they were scored under.
        deltas: The IoU levels that were counted.
        seed: Of the intervals.

    Returns:
        Empty where no image has ground truth.
    """
    if counts.sweep_hits is None:
        return {}
    found: dict[str, Any] = {}
    for name in NAMES:
        ious = counts.ious[name]
        hits = at_least(ious, deltas, protocol.iou_comparator).sum(1)
        found[name] = {
            "gt_known_loc": bootstrap.proportions(hits, len(ious), deltas, seed),
            "mean_iou": bootstrap.mean(ious, seed),
        }
    for name, counted in counts.pixels.items():
        found[name] |= pixels.compute(counted, seed)
    thresholds = protocol.sweep_thresholds()
    found["center_gaussian"] |= curve.box_accuracy(len(ious), counts.sweep_hits, thresholds, deltas, seed=seed)
    return found


def zero_line(baselines: dict[str, Any]) -> dict[str, Any]:
    """The best baseline of each metric: what is not above it explains nothing.

    Args:
        baselines: What :func:`compute` gave.

    Returns:
        ``{"baseline", "value"}`` by metric and, where the metric has levels, by IoU level. A metric at a
        fixed threshold has the best baseline at a fixed threshold, one with the oracle's threshold the
        best with the oracle's.
    """

    def best(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
        name = max(entries, key=lambda one: entries[one]["value"])
        return {"baseline": name, "value": entries[name]["value"]}

    line: dict[str, Any] = {}
    for key in _METRICS:
        having = {name: scores[key] for name, scores in baselines.items() if key in scores}
        if not having:
            continue
        first = next(iter(having.values()))
        if "value" in first:
            line[key] = best(having)
        else:
            line[key] = {delta: best({name: one[delta] for name, one in having.items()}) for delta in first}
    return line
