"""Gradient-weighted class activation mapping: one weight per channel, from the gradient of the logit.

Maps are returned before the papers' ReLU, as they are stored; thresholds cut at shares of the maximum,
which no negative value reaches.
"""

from __future__ import annotations

from torch import Tensor

from stages.explain.methods.cam import weighted_sum
from stages.explain.registry import explainer
from stages.trace.trace import Trace


@explainer(
    "gradcam",
    formula="ReLU(sum_k mean(g_k) A_k)",
    source="Selvaraju et al. 2017, eq. 1 and 2",
    same_as="cam",
    per_cell=True,
)
def gradcam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by their mean gradient, (N, h, w). With a GAP + linear head it is CAM / (h w)."""
    return weighted_sum(trace.gradients(target).mean((2, 3)), trace.activations)


@explainer("gradcam++", formula="ReLU(sum_k sum(alpha_k ReLU(g_k)) A_k)", source="Chattopadhyay et al. 2018, eq. 19")
def gradcam_plus_plus(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by positive gradients times alpha = g^2 / (2 g^2 + g^3 sum A), (N, h, w).

    The score is exp(y_c) and the network piecewise linear, so the second and third derivatives are powers
    of g; exp(y_c) itself scales the whole map and is left out. Divided by g^2 nothing underflows. A zero
    denominator, possible where activations are negative, leaves its weight out.
    """
    gradients = trace.gradients(target)
    if trace.head is not None:  # the same at every location, so one suffices
        gradients = gradients[:, :, :1, :1]
    denominator = 2 + gradients * trace.activations.sum((2, 3), keepdim=True)
    alpha = (denominator != 0) / denominator.where(denominator != 0, 1)
    weights = trace.locations * (alpha * gradients.relu()).mean((2, 3))
    return weighted_sum(weights, trace.activations)


@explainer(
    "sharpen-focus",
    formula="ReLU(sum_k mean(ReLU(g_k)) A_k)",
    source="Wang et al. 2019",
    same_as="positive-cam",
    per_cell=True,
)
def sharpen_focus(trace: Trace, target: Tensor) -> Tensor:
    """Grad-CAM with the mean of the positive gradients alone, (N, h, w)."""
    return weighted_sum(trace.gradients(target).relu().mean((2, 3)), trace.activations)


@explainer("xgradcam", formula="ReLU(sum_k sum(g_k A_k) / sum(A_k) A_k)", source="Fu et al. 2020", same_as="gradcam")
def xgradcam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by gradients averaged with the activations as weights, (N, h, w). An all-zero channel
    has none."""
    total = trace.activations.sum((2, 3))
    share = (trace.gradients(target) * trace.activations).sum((2, 3))
    weights = (total != 0) * share / total.where(total != 0, 1)
    return weighted_sum(weights, trace.activations)
