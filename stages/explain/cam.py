"""Class activation mapping."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.registry import explainer
from stages.explain.trace import Trace


@explainer("cam", formula="sum_k w_k^c A_k", needs_linear_head=True, source="Zhou et al. 2016, eq. 2")
def cam(trace: Trace, target: Tensor) -> Tensor:
    """The class's weights of the linear head, applied at every location, (N, h, w)."""
    return torch.einsum("nk,nkhw->nhw", trace.weights(target), trace.activations)
