"""Class activation mapping: the linear head's weights, applied at every location."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.registry import explainer
from stages.trace.trace import Trace


@explainer("cam", cost="none", formula="sum_k w_k A_k", needs_linear_head=True, source="Zhou et al. 2016, eq. 2")
def cam(trace: Trace, target: Tensor) -> Tensor:
    """The class's weights of the linear head, applied at every location, (N, h, w)."""
    return weighted_sum(trace.weights(target), trace.activations)


@explainer(
    "positive-cam",
    cost="none",
    formula="sum_k ReLU(w_k) A_k",
    needs_linear_head=True,
    source="Bae et al. 2020 (negative weight clamping)",
)
def positive_cam(trace: Trace, target: Tensor) -> Tensor:
    """CAM without the channels that speak against the class, (N, h, w)."""
    return weighted_sum(trace.weights(target).relu(), trace.activations)


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Weighted sum of channels, sum_k w_k A_k: (N, K) and (N, K, h, w) to (N, h, w)."""
    return torch.einsum("nk,nkhw->nhw", weights, activations)
