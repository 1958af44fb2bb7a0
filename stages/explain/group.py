"""Masks of whole groups of channels: a few dozen passes instead of thousands."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from stages.explain.registry import explainer
from stages.explain.trace import Trace

GROUPS = 32
KEPT = 0.7
"""Quantile of a group's map below which it is set to zero."""


@explainer(
    "groupcam",
    formula="ReLU(sum_g (p(x m_g + blur(x) (1 - m_g)) - p(blur(x))) m_g)",
    cost="33 F + b",
    source="Zhang et al. 2021",
)
def groupcam(trace: Trace, target: Tensor) -> Tensor:
    """Groups of Grad-CAM's weighted channels as masks over a blurred image, (N, h, w)."""
    weights = trace.gradients(target).mean((2, 3), keepdim=True)
    weighted = (weights * trace.activations).detach()
    blurred = gaussian_blur(trace.inputs, [51, 51], [50.0, 50.0])

    def prob(images: Tensor) -> Tensor:
        return trace.network.logits(images).softmax(1).gather(1, target[:, None])[:, 0]

    nothing = prob(blurred)
    result = torch.zeros_like(weighted[:, 0])
    for group in weighted.tensor_split(min(GROUPS, weighted.shape[1]), dim=1):
        mask = group.sum(1).relu()
        floor = torch.quantile(mask.flatten(1), KEPT, dim=1)[:, None, None]
        mask = mask.where(mask >= floor, 0)
        low, high = mask.amin((1, 2), keepdim=True), mask.amax((1, 2), keepdim=True)
        mask = (mask - low) / (high - low).where(high > low, 1)
        large = F.interpolate(mask[:, None], trace.inputs.shape[2:], mode="bilinear")
        gain = prob(trace.inputs * large + blurred * (1 - large)) - nothing
        result = result + gain[:, None, None] * mask
    return result
