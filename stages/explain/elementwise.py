"""One weight per channel and location: the gradient stays where it was."""

from __future__ import annotations

from torch import Tensor

from stages.explain.fuse import maximum_of_scaled
from stages.explain.registry import explainer
from stages.explain.trace import Trace


@explainer("hirescam", formula="sum_k g_k A_k", source="Draelos & Carin 2020", same_as="gradcam")
def hirescam(trace: Trace, target: Tensor) -> Tensor:
    """Gradient times activation, summed over channels, (N, h, w)."""
    return (trace.gradients(target) * trace.activations).sum(1)


@explainer(
    "layercam",
    formula="ReLU(sum_k ReLU(g_k) A_k)",
    source="Jiang et al. 2021, eq. 6",
    same_as="sharpen-focus",
    fuse=maximum_of_scaled,
)
def layercam(trace: Trace, target: Tensor) -> Tensor:
    """Positive gradients weight each location, (N, h, w)."""
    return (trace.gradients(target).relu() * trace.activations).sum(1)


@explainer("bagcam", formula="sum_k ReLU(mean(g_k A_k + 1) g_k A_k)", source="Zhu et al. 2022")
def bagcam(trace: Trace, target: Tensor) -> Tensor:
    """Every location's classifier asked about every location, summed over channels, (N, h, w)."""
    product = trace.gradients(target) * trace.activations
    return ((product + 1).mean((2, 3), keepdim=True) * product).relu().sum(1)
