"""Channels weighted by the network's score of the image masked by them, without gradients."""

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
    """Score-CAM of Wang et al. 2020, (N, h, w).

    The baseline y(0) is the same for all channels, so the softmax cancels it. A constant channel masks nothing
    and has no weight; its pass is skipped.
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
    is lowest where the channels are active. ``scorecam`` follows the paper and does not have this problem.
    """
    scores = _masked_scores(trace, target)
    weights = torch.where(scores.isneginf(), 0, scores - trace.score(target).detach()[:, None])
    return weighted_sum(weights, trace.activations)


@for_all_targets
def _masked_scores(trace: Trace, targets: Tensor) -> Tensor:
    """Scores y_c of the image masked by each channel, upsampled to [0, 1]: (N, T, K) for (N, T) classes.

    A constant channel has -inf.
    """
    maps = trace.activations.detach()
    scores = maps.new_full((*maps.shape[:2], targets.shape[1]), float("-inf"))
    varying = maps.amax((2, 3)) > maps.amin((2, 3))
    for at, channels in enumerate(varying):
        if channels.any():
            logits = logits_through(trace.network, trace.inputs[at : at + 1], maps[at, channels])
            scores[at, channels] = logits.gather(1, targets[at].expand(len(logits), -1)).to(scores.dtype)
    return scores.transpose(1, 2)
