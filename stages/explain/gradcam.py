"""Gradient-weighted class activation mapping."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.registry import explainer
from stages.explain.trace import Trace


@explainer("gradcam", formula="ReLU(sum_k mean_ij(g_k) A_k)", source="Selvaraju et al. 2017, eq. 1 and 2")
def gradcam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by their mean gradient, (N, h, w), before the paper's ReLU.

    With a GAP + linear head this is the CAM divided by h w.
    """
    weights = trace.gradients(target).mean((2, 3))
    return torch.einsum("nk,nkhw->nhw", weights, trace.activations)
