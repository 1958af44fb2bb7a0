"""Maps that are the same for every image, counted as :class:`stages.evaluate.pixels.Pixels` counts an image's own."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stages.batch import Batch, length, ragged
from stages.evaluate import pixels
from stages.protocols import Protocol
from stages.threshold import heat


class BlindMaps:
    """Scores a map that is 1 all over the frame, as ``full_image``, and one that everybody shares.

    Args:
        name: Of the second.
        raw: (size, size), the second.
        protocol: That normalises it.
    """

    def __init__(self, name: str, raw: np.ndarray, protocol: Protocol) -> None:
        self.size = len(raw)
        exact = replace(protocol, quantize="none") if protocol.quantize != "none" else protocol
        everywhere = np.ones_like(raw, np.float32)
        # As Pixels has them: what energy and points are taken of, and what PxAP is.
        shared = (np.maximum(heat(raw, one, self.size), 0) for one in (protocol, exact))
        self._maps = {"full_image": (everywhere, everywhere), name: tuple(shared)}
        self._sums = {one: cv2.integral(values, sdepth=cv2.CV_64F) for one, (values, _) in self._maps.items()}
        peak = divmod(int(self._maps[name][0].argmax()), self.size)
        self._peak = np.array(peak[::-1]) + 0.5
        self._edges = pixels.bin_edges(protocol)

    def update(self, images: Batch, transforms: np.ndarray) -> dict[str, pixels.Counts]:
        """Count some images.

        Args:
            images: ``label``, ``boxes``, ``masks``, ``ignore``, ``width`` and ``height``; all with boxes.
            transforms: (N, 4), displayed pixels to the frame.
        """
        first = np.stack([boxes[0] for boxes in images["boxes"]])
        left, top, right, bottom = pixels.box_pixels(first, transforms, self.size).T
        # Right where the first box is all there is, and then no pixel is touched.
        energy = {
            name: (sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]) / sums[-1, -1]
            for name, sums in self._sums.items()
        }
        counts = {name: ragged([None] * length(images)) for name in self._maps}
        pointing = np.zeros(length(images), np.float32)
        for row, transform in enumerate(transforms):
            truth = pixels.Truth(images, row)
            point = (self._peak - transform[2:]) / transform[:2]
            pointing[row] = truth.distance(point) < pixels.TOLERANCE
            if truth.mask is None and len(truth.boxes) == 1:
                continue
            inside, ignored = truth.in_frame(transform, self.size)
            for name, (values, exact) in self._maps.items():
                energy[name][row] = pixels.energy_share(values, inside, ignored)
                if truth.mask is not None:
                    counts[name][row] = pixels.pixel_counts(exact, inside, ignored, self._edges)
        found = {
            name: pixels.update(
                {
                    "label": images["label"],
                    "pointing": pointing,
                    "energy": energy[name].astype(np.float32),
                    "pixel_counts": counts[name],
                }
            )
            for name in self._maps
        }
        # A map that is the same everywhere points nowhere.
        return found | {"full_image": replace(found["full_image"], pointing={})}
