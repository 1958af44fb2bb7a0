"""The direction in which activations vary most, whatever the class."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.registry import explainer
from stages.explain.trace import Trace


@explainer(
    "eigencam", cost="none", formula="projection of A on its first principal component", source="Muhammad & Yeasin 2020"
)
def eigencam(trace: Trace, target: Tensor) -> Tensor:
    """First principal component of the (h w, K) activations, (N, h, w); the class is ignored.

    Computed from the (h w, h w) Gram matrix: its leading eigenvector is the first left singular vector.
    The sign, which no decomposition fixes, is the one that agrees with the mean activation.
    """
    features = trace.activations.flatten(2)
    centred = features - features.mean(2, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.einsum("nki,nkj->nij", centred, centred))
    projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    agreement = (projection * centred.mean(1)).sum(1, keepdim=True)
    return torch.where(agreement < 0, -projection, projection).view(-1, *trace.activations.shape[2:])
