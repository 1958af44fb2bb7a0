"""pytorch-grad-cam, as its users call it, and what it does to a map before it hands it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.peers.networks import TARGET, Case

library = pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is not installed: see the extra `peers`")

Score = Callable[[Tensor, int], Tensor]


def logit(output: Tensor, label: int) -> Tensor:
    """One image's logit of the class."""
    return output[label]


def explain(case: Case, name: str, score: Score = logit, **options: Any) -> np.ndarray:
    """(2, S, S) of one of the library's classes: after ReLU, minmax, upsampling and minmax again."""
    targets = [lambda output, label=label: score(output, label) for label in TARGET.tolist()]
    with getattr(library, name)(case.module, [case.explained], **options) as method:
        maps = method(case.images, targets)
    case.module.zero_grad()  # it leaves the gradients of all parameters behind
    return maps


def displayed(maps: Tensor, case: Case) -> np.ndarray:
    """Raw maps (2, h, w) after the same post-processing."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    side = case.images.shape[3]
    return scale_cam_image(scale_cam_image(np.maximum(maps.numpy(), 0), (side, side)))
