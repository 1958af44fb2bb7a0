"""Small real images, made here, for the tests of several folders; and what tests over all methods share."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]
Put = Callable[..., Path]


@pytest.fixture
def pixels() -> np.ndarray:
    """(12, 20, 3) uint8: smooth, and different in every corner."""
    y, x = np.mgrid[0:12, 0:20]
    return np.stack([x * 12, y * 20, (x + y) * 8], axis=-1).astype(np.uint8)


@pytest.fixture
def encode(pixels: np.ndarray) -> Encode:
    """Encode an image (the standard one unless another is given) in a Pillow format."""

    def make(format: str = "PNG", image: Image.Image | None = None, **options: object) -> bytes:
        buffer = BytesIO()
        (image or Image.fromarray(pixels)).save(buffer, format, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def put(tmp_path: Path, encode: Encode) -> Put:
    """Write a file below tmp_path, the standard image unless other bytes are given."""

    def write(name: str, content: bytes | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode() if content is None else content)
        return path

    return write


@pytest.fixture
def images():
    """Five, in float64."""
    import torch

    return torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def few_steps(monkeypatch):
    """Methods that repeat themselves do so a few times only: what is tested does not depend on how often."""
    from stages.explain.methods import augmented, augmented_authors, opticam, smooth

    for module, few in (
        (augmented, {"COPIES": 3, "SIDE": 28, "ITERATIONS": 4}),
        (augmented_authors, {"COPIES": 3, "SIDE": 32, "ITERATIONS": 4}),
        (opticam, {"ITERATIONS": 3}),
        (smooth, {"COPIES": 2}),
    ):
        for name, value in few.items():
            monkeypatch.setattr(module, name, value)
