"""What tests over all methods share."""

from __future__ import annotations

import pytest


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
