"""What a method must beat: predictors that look at no pixel, scored under the same protocol.

``full_image`` predicts the whole image; ``center_gaussian`` has a Gaussian in the middle of the frame as
everybody's map; ``random`` predicts a box with random edges. The best of them is the zero line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.components import component_box, sweep
from stages.evaluate import bootstrap, curve
from stages.evaluate.frame import scored_empty, scored_in_frame, scored_truth
from stages.evaluate.iou import at_least, best_iou
from stages.protocols import Protocol
from stages.threshold import heat

NAMES = ("full_image", "center_gaussian", "random")

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
    """

    ious: dict[str, np.ndarray] = field(default_factory=dict)
    sweep_hits: np.ndarray | None = None


class Baselines:
    """Scores the baselines on some images at a time; what is the same for all images is computed once."""

    def __init__(self, protocol: Protocol, size: int, deltas: tuple[float, ...], seed: int = 0) -> None:
        """Prepare the boxes that do not depend on the image.

        Args:
            protocol: The rules; to the Gaussian all but ``resize`` apply.
            size: Side of the network's input frame, to which images are squashed.
            deltas: IoU levels.
            seed: Of the random boxes.
        """
        self.protocol, self.size, self.deltas, self.seed = protocol, size, deltas, seed
        offset = (np.arange(size) + 0.5) / size - 0.5
        gaussian = heat(np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * SIGMA**2)), protocol, size)
        # A Gaussian has one component at any threshold, so all contours are the chosen one.
        swept, _ = sweep(gaussian, protocol)
        self._swept, self._index = np.unique(swept, axis=0, return_inverse=True)
        cut = component_box(gaussian > protocol.cutoffs(np.array([protocol.threshold]))[0], protocol)
        self._gaussian = np.zeros(4, np.float32) if cut is None else cut

    def update(self, ids: np.ndarray, sizes: np.ndarray, boxes: np.ndarray) -> Counts:
        """Score some images.

        Args:
            ids: (N,) image ids, from which the random boxes follow.
            sizes: (N, 2) displayed width and height.
            boxes: (N,) object, each (n, 4) ground truth, xyxy half-open displayed pixels; images without
                any are not counted.
        """
        counts = np.array([len(image) for image in boxes], np.int64)
        some = counts > 0
        if not some.any():
            return Counts()
        truth = _Truth(np.asarray(sizes, np.float64)[some], boxes[some], self.protocol, self.size)
        predicted = {
            "full_image": np.array([0, 0, self.size, self.size], np.float32),
            "center_gaussian": self._gaussian,
            "random": self.random_boxes(ids[some]),
        }
        hits = np.stack(
            [at_least(truth.overlaps(box), self.deltas, self.protocol.iou_comparator).sum(1) for box in self._swept],
            axis=1,
        )
        return Counts(
            {name: truth.overlaps(box).astype(np.float32) for name, box in predicted.items()},
            hits[:, self._index.reshape(-1)].astype(np.int64),
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
        draws = _uniform(streams, self.seed).reshape(-1, 2, 2) * self.size
        low, high = np.floor(draws.min(1)), np.ceil(draws.max(1))
        return np.concatenate([low, np.maximum(high, low + 1)], axis=1).astype(np.float32)


def _uniform(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A float64 in [0, 1) for each int64: two rounds of the finalizer of SplitMix64.

    Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014. A generator of numpy's
    for each image would take longer than the scores.
    """

    def mix(bits: np.ndarray) -> np.ndarray:
        bits = bits + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))

    mixed = mix(mix(numbers.astype(np.uint64)) ^ mix(np.full(1, seed % 2**64, np.uint64)))
    return (mixed >> np.uint64(11)) / 2.0**53


class _Truth:
    """Images with ground truth, ready to be scored against boxes of the frame."""

    def __init__(self, sizes: np.ndarray, boxes: np.ndarray, protocol: Protocol, size: int) -> None:
        self.sizes = sizes
        self.counts = np.array([len(image) for image in boxes], np.int64)
        self.protocol = protocol
        self.size = size
        squash = np.column_stack([size / sizes, np.zeros_like(sizes)])
        truth = np.concatenate([np.zeros((0, 4)), *boxes])
        self.boxes = scored_truth(truth, np.repeat(squash, self.counts, axis=0), protocol, size)

    def overlaps(self, box: np.ndarray) -> np.ndarray:
        """(n,) best IoU of each image with the (4,) box of the frame, half-open edges, or with its own (n, 4)."""
        boxes = np.broadcast_to(box, (len(self.counts), 4)).astype(np.float64)
        empty = ~(boxes[:, 2] > boxes[:, 0])
        if self.protocol.frame == "original":
            predicted = boxes * np.tile(self.sizes, 2) / self.size
        else:
            predicted = scored_in_frame(boxes, self.protocol, self.size)
        predicted[empty] = scored_empty(self.protocol)
        return best_iou(predicted, self.boxes, self.counts, self.protocol.iou)


def merge(a: Counts, b: Counts) -> Counts:
    """The counts of two disjoint sets of images together."""
    if a.sweep_hits is None or b.sweep_hits is None:
        return b if a.sweep_hits is None else a
    ious = {name: np.concatenate([values, b.ious[name]]) for name, values in a.ious.items()}
    return Counts(ious, a.sweep_hits + b.sweep_hits)


def compute(counts: Counts, protocol: Protocol, deltas: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    """The baselines as ``metrics.json`` has them: ``gt_known_loc`` and ``mean_iou``, and the Gaussian's sweep.

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
    for key in ("gt_known_loc", "mean_iou", "max_box_acc", "max_box_acc_v2"):
        having = {name: scores[key] for name, scores in baselines.items() if key in scores}
        if not having:
            continue
        first = next(iter(having.values()))
        if "value" in first:
            line[key] = best(having)
        else:
            line[key] = {delta: best({name: one[delta] for name, one in having.items()}) for delta in first}
    return line
