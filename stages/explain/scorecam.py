"""Channels weighted by what the network says of the image seen through them: no gradient at all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.explain.cam import weighted_sum
from stages.explain.registry import explainer
from stages.explain.trace import Trace

CHUNK = 64
"""Masked images that the network sees at a time; bounds the memory."""


@explainer(
    "scorecam", cost="K F", formula="ReLU(sum_k softmax_k(y(x * up(A_k)) - y(0)) A_k)", source="Wang et al. 2020"
)
def scorecam(trace: Trace, target: Tensor) -> Tensor:
    """Score-CAM, (N, h, w).

    The baseline y(0) is the same for all channels, so the softmax cancels it. A constant channel masks
    nothing and weighs nothing; its pass is saved.
    """
    low = trace.activations.amin((2, 3), keepdim=True)
    span = trace.activations.amax((2, 3), keepdim=True) - low
    masks = ((trace.activations - low) / span.where(span > 0, 1)).detach()
    image, channel = torch.nonzero(span[:, :, 0, 0] > 0, as_tuple=True)
    scores = trace.activations.new_full(span.shape[:2], float("-inf"))
    for images, channels in zip(image.split(CHUNK), channel.split(CHUNK), strict=True):
        mask = F.interpolate(masks[images, channels][:, None], trace.inputs.shape[2:], mode="bilinear")
        logits = trace.network.logits(trace.inputs[images] * mask)
        scores[images, channels] = logits.gather(1, target[images, None])[:, 0].to(scores.dtype)
    weights = torch.where(scores.isneginf(), 0, (scores - scores.amax(1, keepdim=True)).exp())
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return weighted_sum(weights, trace.activations)
