"""Methods whose score contrasts the class with others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.explain.all_targets import for_all_targets
from stages.explain.methods.cam import weighted_sum
from stages.explain.methods.gradcam import gradcam
from stages.explain.registry import explainer
from stages.trace.outputs import SOFTMAX, log_probabilities
from stages.trace.trace import Trace

FINER_STRENGTH = 0.6
FINER_REFERENCES = 3


@explainer(
    "finercam",
    formula="ReLU(sum_k mean(g_k of y_c - 0.6 mean of the 3 nearest y_d) A_k)",
    source="Zhang et al. 2025",
)
def finercam(trace: Trace, target: Tensor) -> Tensor:
    """Grad-CAM of the class's score minus those of the classes that score most like it, (N, h, w).

    With no other class it is Grad-CAM.
    """
    logits = trace.logits
    if logits.shape[1] == 1:
        return gradcam(trace, target)
    distance = (logits - trace.score(target)[:, None]).abs().detach()
    distance = distance.scatter(1, target[:, None], float("inf"))
    references = distance.topk(min(FINER_REFERENCES, logits.shape[1] - 1), dim=1, largest=False).indices
    if trace.head is not None:
        weight = trace.head.weight
        weights = (weight[target] - FINER_STRENGTH * weight[references].mean(1)) / trace.locations
    else:
        similar = logits.gather(1, references).mean(1)
        weights = trace.gradients_of(trace.score(target) - FINER_STRENGTH * similar).mean((2, 3))
    return weighted_sum(weights, trace.activations)


@explainer(
    "shapleycam",
    cost="2 b, with fused attention F + 2 b",
    formula="ReLU(sum_k mean(g_k - H A / 2) A_k) of y_c + log p_c",
    source="Cai 2025",
)
def shapleycam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by a second-order estimate of their Shapley value, (N, h, w).

    With a GAP + linear head and a softmax, F = mean(A), the gradient of y_c + log p_c is 2 w^c - W'p over h w, and its
    Hessian, that of log p_c, times F is -W'(p (z - p'z)) over h w, where z = W F.
    """
    if trace.head is not None and trace.network.outputs == SOFTMAX:
        weight, probs = trace.head.weight, trace.probs
        evidence = F.linear(trace.activations.detach().mean((2, 3)), weight)
        curved = probs * (evidence - (probs * evidence).sum(1, keepdim=True))
        weights = 2 * weight[target] + (curved / 2 - probs) @ weight
        return weighted_sum(weights / trace.locations, trace.activations)
    return weighted_sum(_second_order(trace, target), trace.activations)


@for_all_targets
def _second_order(trace: Trace, targets: Tensor) -> Tensor:
    """Channel weights (N, T, K) by autograd."""
    try:
        return _expanded(trace, targets)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
    # The fused attention kernel has no second derivative, so another pass runs with the plain one.
    with sdpa_kernel(SDPBackend.MATH):
        return _expanded(trace.network.trace(trace.inputs), targets)


def _expanded(trace: Trace, targets: Tensor) -> Tensor:
    activations, found = trace.activations, []
    for target in targets.unbind(1):
        logs = log_probabilities(trace.logits, trace.network.outputs)
        score = trace.score(target) + logs.gather(1, target[:, None])[:, 0]
        gradient = torch.autograd.grad(score.sum(), activations, create_graph=True)[0]
        product = (gradient * activations.detach()).sum()
        curvature = torch.autograd.grad(product, activations, retain_graph=True)[0]
        found.append((gradient - curvature / 2).mean((2, 3)).detach())
    return torch.stack(found, 1)
