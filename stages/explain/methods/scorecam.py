"""Channels weighted by what the network says of the image seen through them: no gradient at all."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.all_targets import for_all_targets
from stages.explain.masking import logits_through
from stages.explain.methods.cam import weighted_sum
from stages.explain.registry import explainer
from stages.trace.trace import Trace


@explainer(
    "scorecam",
    cost="K F",
    formula="ReLU(sum_k softmax_k(y(x * minmax(up(A_k))) - y(0)) A_k)",
    source="Wang et al. 2020",
)
def scorecam(trace: Trace, target: Tensor) -> Tensor:
    """Score-CAM, (N, h, w).

    The baseline y(0) is the same for all channels, so the softmax cancels it. A constant channel masks
    nothing and weighs nothing; its pass is saved.
    """
    scores = _masked_scores(trace, target)
    weights = torch.where(scores.isneginf(), 0, (scores - scores.amax(1, keepdim=True)).exp())
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return weighted_sum(weights, trace.activations)


@explainer(
    "scorecam-lecture",
    cost="K F",
    formula="ReLU(sum_k (y(x * minmax(up(A_k))) - y(x)) A_k)",
    source="Score-CAM as Boracchi's lecture writes it",
)
def scorecam_lecture(trace: Trace, target: Tensor) -> Tensor:
    """Score-CAM with the image itself as the baseline and no softmax, (N, h, w).

    A mask hardly ever raises the score, so nearly all weights are negative, and with activations >= 0 so is
    the map, and a threshold above zero finds nothing. Stretched between its minimum and its maximum the map
    is lowest where the channels are active. ``scorecam`` is the paper's, which does not suffer from it.
    """
    scores = _masked_scores(trace, target)
    weights = torch.where(scores.isneginf(), 0, scores - trace.score(target).detach()[:, None])
    return weighted_sum(weights, trace.activations)


@for_all_targets
def _masked_scores(trace: Trace, targets: Tensor) -> Tensor:
    """y_c of the image seen through each channel, upsampled and between 0 and 1, (N, T, K) for (N, T) classes.

    -inf for a constant channel.
    """
    maps = trace.activations.detach()
    scores = maps.new_full((*maps.shape[:2], targets.shape[1]), float("-inf"))
    varying = maps.amax((2, 3)) > maps.amin((2, 3))
    for at, channels in enumerate(varying):
        if channels.any():
            logits = logits_through(trace.network, trace.inputs[at : at + 1], maps[at, channels])
            scores[at, channels] = logits.gather(1, targets[at].expand(len(logits), -1)).to(scores.dtype)
    return scores.transpose(1, 2)
