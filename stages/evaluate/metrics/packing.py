"""Float columns as text, for counts that keep a value of every image."""

from __future__ import annotations

import base64

import numpy as np


def pack(values: np.ndarray) -> str:
    """Lossless text of (n,) float32 values.

    >>> unpack(pack(np.array([0.1, 1], np.float32))).tolist() == [np.float32(0.1), 1.0]
    True
    """
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def unpack(text: str) -> np.ndarray:
    """The values that :func:`pack` was given."""
    return np.frombuffer(base64.b64decode(text), "<f4")
