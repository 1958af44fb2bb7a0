"""OpenCV's decoder, for the values that Pillow does not give; its import takes half a second."""

from __future__ import annotations

import cv2
import numpy as np

# What OpenCV warns of without the image's name are oddities in the tags of a file that Pillow has read before.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def decode_unchanged(data: bytes) -> np.ndarray | None:
    """The stored values of an encoded image, (H, W) or (H, W, C), colours in the order BGR; None where it has none."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if found is None else np.asarray(found)
