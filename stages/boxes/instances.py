"""Further components of a mask, beside the one whose box is reported."""

from __future__ import annotations

import cv2
import numpy as np

from stages.boxes.protocols import Protocol

LEAST = 0.1
"""Least size of a further component, as a share of the pixels of the first."""


def further_components(
    mask: np.ndarray, heat: np.ndarray, first: np.ndarray, protocol: Protocol
) -> list[tuple[np.ndarray, float]]:
    """The other components that may be objects of their own, by falling number of pixels.

    At the resolution of most maps objects that are close to each other share one component.

    Args:
        mask: (h, w) bool.
        heat: (h, w) float32 that the mask was cut from.
        first: (4,) box of the component that the protocol chooses.
        protocol: Rules; ``component`` and ``connectivity`` apply.

    Returns:
        Of each component with at least a tenth of the first one's pixels: its box, (4,) float32 xyxy, half-open pixel
        edges, and the maximum of its heat as a share of the map's.
    """
    if protocol.component == "all":
        return []
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=protocol.connectivity)
    boxes = stats[1:, : cv2.CC_STAT_AREA].astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    pixels = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-pixels, kind="stable")
    own = next((at for at in order if np.array_equal(boxes[at], first)), order[0])
    chosen = [at for at in order if at != own and pixels[at] >= LEAST * pixels[own]]
    return [(boxes[at], float(heat[labels == at + 1].max() / heat.max())) for at in chosen]
