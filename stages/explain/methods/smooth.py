"""Derivatives averaged over noisy copies of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.all_targets import for_all_targets
from stages.explain.methods.cam import weighted_sum
from stages.explain.registry import explainer
from stages.trace.trace import Trace

COPIES = 16
NOISE = 0.15
"""Standard deviation of the noise, in ranges (maximum minus minimum) of the normalised image."""


@explainer(
    "smooth-gradcam++",
    formula="Grad-CAM++ of the mean derivatives of 16 noisy copies",
    cost="16 F + 16 b",
    source="Omeiza et al. 2019",
)
@for_all_targets
def smooth_gradcam_plus_plus(trace: Trace, targets: Tensor) -> Tensor:
    """Grad-CAM++ whose derivatives are means over noisy copies, on the clean activations, (N, T, h, w).

    Without noise it is Grad-CAM++; the paper's printed numerator, the first derivative, would not be. The
    noise is the same for every image, so no map depends on its batch.
    """
    span = trace.inputs.amax((1, 2, 3), keepdim=True) - trace.inputs.amin((1, 2, 3), keepdim=True)
    generator = torch.Generator().manual_seed(0)
    classes = targets.unbind(1)
    zero = torch.zeros_like(trace.activations)
    derivatives = [[zero, zero, zero] for _ in classes]
    for _ in range(COPIES):
        noise = torch.randn(trace.inputs.shape[1:], generator=generator).to(trace.inputs)
        copy = trace.network.trace(trace.inputs + NOISE * span * noise)
        for means, target in zip(derivatives, classes, strict=True):
            gradients = copy.gradients(target)
            means[:] = [mean + gradients**order / COPIES for order, mean in enumerate(means, start=1)]
    return torch.stack([_weighted(trace.activations, *means) for means in derivatives], 1)


def _weighted(activations: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Grad-CAM++ of mean derivatives (N, K, h, w)."""
    denominator = 2 * second + activations.sum((2, 3), keepdim=True) * third
    alpha = (denominator != 0) * second / denominator.where(denominator != 0, 1)
    return weighted_sum((alpha * first.relu()).sum((2, 3)), activations)
