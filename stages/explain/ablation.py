"""What the score loses, or a location scores alone: the head is asked, never the trunk."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.explain.cam import weighted_sum
from stages.explain.registry import explainer
from stages.explain.trace import Trace

CHUNK = 256
"""Altered activation maps that the head judges at a time; bounds the memory."""


@explainer(
    "ablationcam",
    cost="K f",
    formula="ReLU(sum_k (y - y without A_k) / y A_k)",
    source="Desai & Ramaswamy 2020",
)
def ablationcam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by the share of the score that goes when they are zero, (N, h, w).

    With a GAP + linear head the drop is w_k mean(A_k), exactly.
    """
    score = trace.score(target)
    if trace.head is not None:
        drop = trace.weights(target) * trace.activations.mean((2, 3))
    else:
        drop = score[:, None] - _scores_without_each_channel(trace, target)
    return weighted_sum(drop / score.where(score != 0, 1)[:, None], trace.activations)


@explainer(
    "reciprocam",
    cost="h w f",
    formula="p_c of the head on one location alone",
    source="Byun & Lee 2024",
)
def reciprocam(trace: Trace, target: Tensor) -> Tensor:
    """Probability of the class when all other locations are silent, (N, h, w)."""
    batch, _, height, width = trace.activations.shape
    if trace.head is not None:
        one = trace.activations.flatten(2).transpose(1, 2) / trace.locations
        logits = F.linear(one, trace.head.weight, trace.head.bias)
    else:
        alone = torch.eye(trace.locations, dtype=torch.bool, device=trace.activations.device)
        alone = alone.view(trace.locations, 1, height, width)
        with torch.no_grad():
            logits = torch.stack([_decide(trace, image, alone * maps) for image, maps in enumerate(trace.activations)])
    probs = logits.softmax(2).gather(2, target[:, None, None].expand(batch, trace.locations, 1))
    return probs.view(batch, height, width)


@torch.no_grad()
def _scores_without_each_channel(trace: Trace, target: Tensor) -> Tensor:
    """(N, K) score of each image's class with one channel at zero."""
    channels = trace.activations.shape[1]
    kept = ~torch.eye(channels, dtype=torch.bool, device=trace.activations.device)[:, :, None, None]
    images = enumerate(zip(trace.activations, target, strict=True))
    return torch.stack([_decide(trace, image, kept * maps)[:, label] for image, (maps, label) in images])


def _decide(trace: Trace, image: int, activations: Tensor) -> Tensor:
    return torch.cat([trace.decide(image, part) for part in activations.split(CHUNK)])
