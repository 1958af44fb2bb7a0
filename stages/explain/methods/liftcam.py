"""LIFT-CAM: each channel's contribution to the score, by DeepLIFT against an explained layer that is all zero.

Between two inputs a function of one value has the slope (f(z) - f(z')) / (z - z'). Put in place of its
derivative (the rescale rule of Shrikumar, Greenside & Kundaje 2017, section 3.5.2), the backward pass gives
contributions that add up to the difference of the scores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from stages.errors import ConfigurationError
from stages.explain.all_targets import for_all_targets
from stages.explain.methods.cam import weighted_sum
from stages.explain.methods.fullgrad import ACTIVATIONS
from stages.explain.registry import explainer
from stages.trace.trace import Trace

TOLERANCE = 1e-4
"""Tolerated error of the contributions' sum, as a share of their absolute sum."""
_NEAR = 1e-6
"""Relative difference below which the derivative replaces the quotient, which would be rounding error."""
_ELEMENTWISE = ACTIVATIONS | {"relu", "relu_", "leaky_relu", "leaky_relu_", "threshold", "threshold_"}


def check_complete(trace: Trace) -> None:
    """Check on noise that the contributions add up to the difference between the score and that of an all-zero layer.

    Raises:
        ConfigurationError: They do not: something behind the layer is not covered.
    """
    if trace.head is not None:
        return
    noise = torch.randn(trace.activations.shape[1:], generator=torch.Generator().manual_seed(0))
    maps = noise.to(trace.activations).relu()
    # Computed without the rescaling, to catch networks whose outputs it would change.
    with torch.no_grad():
        heard, silent = trace.decide(0, torch.stack([maps, torch.zeros_like(maps)]))[:, 0]
    shares = contributions(trace, 0, maps, torch.zeros(1, dtype=torch.int64, device=maps.device))[0]
    difference = heard - silent
    if not (difference - shares.sum()).abs() <= TOLERANCE * (difference.abs() + shares.abs().sum()):
        raise ConfigurationError(
            "liftcam cannot explain this network at this layer: the channels' shares do not add up "
            "to the score; behind the layer it covers convolutions, linear layers, batch normalisation, pooling and "
            "elementwise activations, but no attention, other normalisation or gates; take gradcam",
            about="methods",
        )


@explainer(
    "liftcam",
    cost="F + f + 2 b",
    formula="ReLU(sum_k sum(DeepLIFT_k) A_k)",
    source="Jung & Oh 2021",
    check=check_complete,
)
def liftcam(trace: Trace, target: Tensor) -> Tensor:
    """Channels weighted by their DeepLIFT contribution against all-zero maps, (N, h, w).

    For a GAP + linear head it is the channel's exact Shapley value, w_k mean(A_k).
    """
    if trace.head is not None:
        shares = trace.weights(target) * trace.activations.mean((2, 3))
    else:
        shares = _shares(trace, target)
    return weighted_sum(shares, trace.activations)


@for_all_targets
def _shares(trace: Trace, targets: Tensor) -> Tensor:
    """Contributions (N, T, K) of whole channels to the scores of (N, T) classes."""
    images = enumerate(zip(trace.activations.detach(), targets, strict=True))
    return torch.stack([contributions(trace, image, *one).sum((2, 3)) for image, one in images])


def contributions(trace: Trace, image: int, maps: Tensor, targets: Tensor) -> Tensor:
    """Contribution of each value to y_c of the maps minus y_c of all-zero maps, (T, K, h, w).

    Args:
        trace: Trace of a batch.
        image: Index in the batch, for whatever bypasses the map.
        maps: (K, h, w) replacement of that image's activations.
        targets: (T,) classes; one forward pass serves them all.
    """
    pair = torch.stack([maps, torch.zeros_like(maps)]).requires_grad_()
    with torch.enable_grad(), _Rescaled():
        scores = trace.decide(image, pair)[0, targets]
    slopes = [torch.autograd.grad(score, pair, retain_graph=True)[0][0] for score in scores]
    return torch.stack(slopes) * maps


class _Rescaled(TorchFunctionMode):
    """Gives activations and max pools in this thread the slope between the two rows of a batch as derivative."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _ELEMENTWISE and _is_pair(args[0]):
            return _elementwise(func, *args, **kwargs)
        if name == "max_pool2d" and _is_pair(args[0]):
            return _max_pool(*args, **kwargs)
        return func(*args, **kwargs)


def _is_pair(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and len(value) == 2


def _elementwise(func: Any, z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    inside = z.detach().clone().requires_grad_()
    value: Tensor = func(inside.clone(), *args, **kwargs)  # A copy, because it may work in place.
    (derivative,) = torch.autograd.grad(value.sum(), inside)
    value, rise, run = value.detach(), value.detach().diff(dim=0), inside.detach().diff(dim=0)
    slope = (rise / run).where(_apart(run, z), derivative)
    return value + slope * (z - z.detach())


def _max_pool(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Max pooling whose rise to the larger maximum belongs to the first row's place, the fall from it to the
    second's."""
    kwargs = {name: value for name, value in kwargs.items() if name != "return_indices"}
    value, places = F.max_pool2d_with_indices(z.detach(), *args, **kwargs)
    most = value.amax(0, keepdim=True)
    flat, moves = z.detach().flatten(2), (z - z.detach()).flatten(2)
    out = value
    for place, rise in ((places[:1], most - value[1:]), (places[1:], value[:1] - most)):
        here = place.flatten(2)
        run = (flat[:1] - flat[1:]).gather(2, here).view_as(rise)
        apart = _apart(run, z)
        slope = rise.where(apart, 0) / run.where(apart, 1)
        out = out + slope * moves.gather(2, here.expand(2, -1, -1)).view_as(value)
    return out


def _apart(run: Tensor, z: Tensor) -> Tensor:
    return run.abs() > _NEAR * z.detach().abs().amax()
