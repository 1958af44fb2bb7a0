"""The score's drop without a channel, or the score of one location alone: only the head runs, never the trunk."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.explain.all_targets import for_all_targets
from stages.explain.methods.cam import weighted_sum
from stages.explain.registry import explainer
from stages.trace.trace import Trace

CHUNK = 256
"""Altered activation maps per pass of the head, which bounds memory."""


@explainer(
    "ablationcam",
    cost="K f + F per 256",
    formula="ReLU(sum_k (y - y without A_k) / y A_k)",
    source="Desai & Ramaswamy 2020",
)
def ablationcam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by the share of the score that is lost when they are zero, (N, h, w).

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
    cost="h w f + F per 256",
    formula="p_c of the head on one location alone",
    source="Byun & Lee 2024",
)
@for_all_targets
def reciprocam(trace: Trace, targets: Tensor) -> Tensor:
    """Probabilities of the classes with each location alone and all others at zero, (N, T, h, w)."""
    maps = trace.activations.detach()
    if trace.head is not None:
        one = maps.flatten(2).mT / trace.locations
        logits = F.linear(one, trace.head.weight, trace.head.bias)
    else:
        logits = torch.stack([_decide(trace, image, trace.locations, _alone) for image in range(len(maps))])
    every = targets[:, None].expand(-1, trace.locations, -1)
    return trace.network.probabilities(logits).gather(2, every).mT.reshape(*targets.shape, *maps.shape[2:])


@for_all_targets
def _scores_without_each_channel(trace: Trace, targets: Tensor) -> Tensor:
    """Scores (N, T, K) of (N, T) classes with one channel at zero."""
    channels = trace.activations.shape[1]
    return torch.stack([_decide(trace, image, channels, _without).mT[labels] for image, labels in enumerate(targets)])


def _without(maps: Tensor, channels: Tensor) -> Tensor:
    """Maps (M, K, h, w), each with one of M channels at zero."""
    altered = maps.repeat(len(channels), 1, 1, 1)
    altered[torch.arange(len(channels), device=maps.device), channels] = 0
    return altered


def _alone(maps: Tensor, locations: Tensor) -> Tensor:
    """Maps (M, K, h, w), each with one of M locations alone, the others at zero."""
    altered = torch.zeros_like(maps).repeat(len(locations), 1, 1, 1)
    rows = torch.arange(len(locations), device=maps.device)
    altered.flatten(2)[rows, :, locations] = maps.flatten(1).mT[locations]
    return altered


@torch.no_grad()
def _decide(trace: Trace, image: int, count: int, alter: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Logits (count, C) of an image's maps, altered in ``count`` ways, with one chunk in memory at a time."""
    maps = trace.activations[image].detach()
    chunks = torch.split(torch.arange(count, device=maps.device), CHUNK)
    return torch.cat([trace.decide(image, alter(maps, chunk)) for chunk in chunks])
