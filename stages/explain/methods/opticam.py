"""The mixture of channels whose mask maximises the class's score, found by optimisation."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.masking import stretched
from stages.explain.methods.cam import weighted_sum
from stages.explain.registry import explainer
from stages.trace.trace import Trace

ITERATIONS = 50
RATE = 0.1


@explainer(
    "opticam",
    formula="sum_k softmax(u)_k A_k, u maximises y(x * minmax(up(map)))",
    cost="50 F + 50 B",
    source="Zhang et al. 2024",
)
def opticam(trace: Trace, target: Tensor) -> Tensor:
    """Convex combination of the channels, optimised for each image by Adam, (N, h, w)."""
    activations, inputs = trace.activations.detach(), trace.inputs.detach()
    weights = torch.full_like(activations[:, :, 0, 0], 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([weights], RATE)
    with torch.enable_grad():
        for _ in range(ITERATIONS):
            heat = weighted_sum(weights.softmax(1), activations)
            mask, _ = stretched(heat, inputs.shape[2:])
            score = trace.network.logits(inputs * mask).gather(1, target[:, None]).sum()
            (weights.grad,) = torch.autograd.grad(-score, weights)
            optimizer.step()
    return weighted_sum(weights.detach().softmax(1), activations)
