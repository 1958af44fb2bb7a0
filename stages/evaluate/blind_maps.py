"""Maps that are the same for every image, counted as :class:`stages.evaluate.pixels.Pixels` counts an image's own."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np

from stages.batch import Batch, ragged
from stages.boxes.protocols import Protocol
from stages.boxes.threshold import heat
from stages.evaluate import pixels
from stages.evaluate.metrics.pixels import PixelCounts, count

FEW = 3
"""Number of boxes up to which their union is summed without reading pixels: 2 ** FEW - 1 sums."""


class BlindMaps:
    """Scores two maps: one that is 1 all over the frame, ``full_image``, and another one that all images share.

    Args:
        name: Name of the second map.
        raw: (size, size) second map.
        protocol: Rules that normalise the second map.
    """

    def __init__(self, name: str, raw: np.ndarray, protocol: Protocol) -> None:
        self.size = len(raw)
        exact = replace(protocol, quantize="none") if protocol.quantize != "none" else protocol
        everywhere = np.ones_like(raw, np.float32)
        # As in Pixels: the map for energy and points, and the one for PxAP.
        shared = (np.maximum(heat(raw, one, self.size), 0) for one in (protocol, exact))
        self._maps = {"full_image": (everywhere, everywhere), name: tuple(shared)}
        self._sums = {one: cv2.integral(values, sdepth=cv2.CV_64F) for one, (values, _) in self._maps.items()}
        peak = divmod(int(self._maps[name][0].argmax()), self.size)
        self._peak = np.array(peak[::-1]) + 0.5
        self._edges = pixels.bin_edges(protocol)

    def update(self, images: Batch, transforms: np.ndarray) -> dict[str, PixelCounts]:
        """Count some images.

        Args:
            images: ``image_id``, ``label``, ``boxes``, ``masks``, ``ignore``, ``width`` and ``height``; all with boxes.
            transforms: (N, 4), displayed pixels to the frame.
        """
        counts = np.array([len(boxes) for boxes in images["boxes"]])
        ends = np.cumsum(counts)
        boxes = np.concatenate(list(images["boxes"])).astype(np.float64)
        inside = pixels.box_pixels(boxes, np.repeat(transforms, counts, axis=0), self.size)
        points = (self._peak - transforms[:, 2:]) / transforms[:, :2]
        distances = pixels.box_distances(np.repeat(points, counts, axis=0), boxes)
        pointing = np.minimum.reduceat(distances, ends - counts) < pixels.TOLERANCE
        energy = {name: np.zeros(len(counts)) for name in self._maps}
        masked = np.array([bool(parts) for parts in images["masks"]], bool)
        for number in range(1, FEW + 1):
            some = np.flatnonzero((counts == number) & ~masked)
            own = inside[(ends - counts)[some, None] + np.arange(number)]
            for name, sums in self._sums.items():
                energy[name][some] = _sum_of_union(sums, own) / sums[-1, -1]
        pixel_counts = {name: ragged([None] * len(counts)) for name in self._maps}
        for row in np.flatnonzero(masked | (counts > FEW)).tolist():
            truth = pixels.Truth(images, row)
            if truth.mask is not None:
                pointing[row] = truth.distance(points[row]) < pixels.TOLERANCE
            objects, ignored = truth.in_frame(transforms[row], self.size)
            for name, (values, exact) in self._maps.items():
                energy[name][row] = pixels.energy_share(values, objects, ignored)
                if truth.mask is not None:
                    pixel_counts[name][row] = pixels.pixel_counts(exact, objects, ignored, self._edges)
        found = {
            name: count(
                {
                    "image_id": images["image_id"],
                    "label": images["label"],
                    "pointing": pointing.astype(np.float32),
                    "energy": energy[name].astype(np.float32),
                    "pixel_counts": pixel_counts[name],
                }
            )
            for name in self._maps
        }
        # A constant map points nowhere.
        return found | {"full_image": replace(found["full_image"], pointing={})}


def _sum_of_union(sums: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Sums of a map over unions of boxes, by inclusion and exclusion.

    Args:
        sums: (h + 1, w + 1) integral image of ``cv2.integral``.
        boxes: (n, k, 4) int half-open xyxy.

    Returns:
        (n,) float64 sums.
    """
    total = np.zeros(len(boxes))
    for number in range(1, boxes.shape[1] + 1):
        for chosen in combinations(range(boxes.shape[1]), number):
            own = boxes[:, chosen]
            low = own[..., :2].max(1)
            (left, top), (right, bottom) = low.T, np.maximum(own[..., 2:].min(1), low).T
            shared = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
            total += shared if number % 2 else -shared
    return total
