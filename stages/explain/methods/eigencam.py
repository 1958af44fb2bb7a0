"""The direction in which activations vary most, whatever the class."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.all_targets import for_all_targets
from stages.explain.registry import explainer
from stages.trace.trace import Trace


@explainer(
    "eigencam", cost="none", formula="projection of A on its first principal component", source="Muhammad & Yeasin 2020"
)
@for_all_targets
def eigencam(trace: Trace, targets: Tensor) -> Tensor:
    """First principal component of the (h w, K) activations, (N, T, h, w), the same for all T classes.

    Computed from the smaller Gram matrix. The leading eigenvector of (h w, h w) is the first left singular
    vector, which the singular value scales; that of (K, K) is the first right one, onto which the activations
    are projected. The sign, which no decomposition fixes, is the one that agrees with the mean activation.
    """
    maps = trace.activations.detach()
    features = maps.flatten(2)
    centred = features - features.mean(2, keepdim=True)
    few_channels = centred.shape[1] < centred.shape[2]
    gram = centred @ centred.mT if few_channels else centred.mT @ centred
    # One non-finite image would make the decomposition fail for all.
    finite = gram.isfinite().all(2).all(1)[:, None]
    values, vectors = torch.linalg.eigh(gram.where(finite[:, None], 0))
    if few_channels:
        projection = (vectors[:, None, :, -1] @ centred)[:, 0]
    else:
        projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    agreement = (projection * centred.mean(1)).sum(1, keepdim=True)
    signed = torch.where(agreement < 0, -projection, projection).where(finite, torch.nan)
    return signed.view(len(maps), 1, *maps.shape[2:]).expand(-1, targets.shape[1], -1, -1)
