"""Methods with one weight per channel and location: the gradient is not averaged."""

from __future__ import annotations

from torch import Tensor

from stages.explain.registry import explainer
from stages.trace.fuse import maximum_of_scaled
from stages.trace.trace import Trace


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
    """Activations weighted at each location by the positive gradient, (N, h, w)."""
    return (trace.gradients(target).relu() * trace.activations).sum(1)


@explainer("bagcam", formula="sum_k ReLU(mean(g_k A_k + 1) g_k A_k), g of the logit", source="after Zhu et al. 2022")
def bagcam(trace: Trace, target: Tensor) -> Tensor:
    """Every location's classifier applied at every location, summed over channels, (N, h, w).

    With a GAP + linear head it is sum_k ReLU((1 + w_k mean(A_k) / (h w)) w_k A_k / (h w)). The authors' code
    differs: it takes the gradient of the output's logarithm, and passes only positive gradients back through
    every ReLU (guided backpropagation), which changes the maps of layers that ReLUs follow. Here g is the
    logit's gradient itself, as for every other method.
    """
    product = trace.gradients(target) * trace.activations
    return ((product + 1).mean((2, 3), keepdim=True) * product).relu().sum(1)
