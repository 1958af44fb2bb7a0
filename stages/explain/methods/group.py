"""Masks of whole groups of channels: a few dozen passes instead of thousands."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.all_targets import for_all_targets
from stages.explain.masking import stretched
from stages.explain.registry import explainer
from stages.trace.trace import Trace

GROUPS = 32
KEPT = 0.7
"""Quantile of a group's map below which it is set to zero."""


@explainer(
    "groupcam",
    formula="ReLU(sum_g (p(x m_g + blur(x) (1 - m_g)) - p(blur(x))) m_g), m_g = minmax(up(group))",
    cost="33 F + b",
    source="Zhang et al. 2021",
)
@for_all_targets
def groupcam(trace: Trace, targets: Tensor) -> Tensor:
    """Groups of Grad-CAM's weighted channels as masks over a blurred image, (N, T, h, w)."""
    from torchvision.transforms.v2.functional import gaussian_blur  # takes seconds, so only where this method is used

    blurred = gaussian_blur(trace.inputs, [51, 51], [50.0, 50.0])
    nothing = trace.network.probabilities(trace.network.logits(blurred)).gather(1, targets)
    pairs = zip(targets.unbind(1), nothing.unbind(1), strict=True)
    return torch.stack([_gains(trace, target, blurred, prob) for target, prob in pairs], 1)


def _gains(trace: Trace, target: Tensor, blurred: Tensor, nothing: Tensor) -> Tensor:
    """The sum of one class's group masks, weighted by what they add to its probability on the blurred image."""
    weights = trace.gradients(target).mean((2, 3), keepdim=True)
    weighted = (weights * trace.activations).detach()
    result = torch.zeros_like(weighted[:, 0])
    for group in weighted.tensor_split(min(GROUPS, weighted.shape[1]), dim=1):
        mask = group.sum(1).relu()
        floor = torch.quantile(mask.flatten(1), KEPT, dim=1)[:, None, None]
        large, small = stretched(mask.where(mask >= floor, 0), trace.inputs.shape[2:])
        seen = trace.network.logits(trace.inputs * large + blurred * (1 - large))
        gain = trace.network.probabilities(seen).gather(1, target[:, None])[:, 0] - nothing
        result = result + gain[:, None, None] * small
    return result
