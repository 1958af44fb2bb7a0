"""FullGrad: what the input and every bias of the network contribute to the score.

A network of ReLUs is, at each input, an affine function of its input and its biases, so

    y_c = <x, dy_c/dx> + sum over biases <b, dy_c/dz>,  z the output that b is added to.

Srinivas & Fleuret, NeurIPS 2019, eq. 3 (completeness) and 6 (the map).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from stages.errors import ConfigurationError
from stages.explain.all_targets import for_all_targets
from stages.explain.registry import explainer
from stages.trace.trace import Trace

CHUNK = 8
"""Number of images whose whole graph is in memory at a time."""
TOLERANCE = 1e-5
"""Tolerated error of the contributions' sum, as a share of their absolute sum; float32 errs by 1e-8."""


def check_complete(trace: Trace) -> None:
    """Check on noise that the contributions add up to the score, the property that defines the method.

    Raises:
        ConfigurationError: They do not: the network holds a layer that is not covered.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(trace.inputs.shape, generator=generator).to(trace.inputs)
    first = torch.zeros(len(noise), 1, dtype=torch.int64, device=noise.device)
    ((score, of_input, of_biases),) = contributions(trace, noise, first)
    if not _add_up(score, [of_input, *of_biases]):
        raise ConfigurationError(
            "fullgrad cannot explain this network: its input's and biases' shares do not add up to "
            "the score; it covers convolutions, linear layers, batch normalisation and elementwise activations, but "
            "no attention, other normalisation or gates (squeeze and excitation); take layercam",
            about="methods",
        )


def _add_up(score: Tensor, parts: list[Tensor]) -> bool:
    if any(len(part) != len(score) for part in parts):
        return False  # Swin has more windows than images.
    terms = [part.flatten(1) for part in parts]
    missing = (score - sum(part.sum(1) for part in terms)).abs()
    size: Tensor = sum((part.abs().sum(1) for part in terms), score.abs())
    return bool((missing <= TOLERANCE * size).all())


@explainer(
    "fullgrad",
    formula="psi(x dy/dx) + sum_biases sum_k up(psi(b_k dy/dz_k)), psi = minmax(abs)",
    cost="F + B",
    source="Srinivas & Fleuret 2019, eq. 6",
    check=check_complete,
)
@for_all_targets
def fullgrad(trace: Trace, targets: Tensor) -> Tensor:
    """Contributions of the input and of the biases of all maps, (N, T, S/2, S/2), values >= 0.

    As in the authors' code minmax spans all channels of a layer, and biases of outputs without locations are
    left out. Channels are summed before they are resized, which is linear.
    """
    side = [length // 2 for length in trace.inputs.shape[2:]]
    parts = zip(torch.split(trace.inputs, CHUNK), torch.split(targets, CHUNK), strict=True)
    return torch.cat(
        [
            torch.stack([_map([of_input, *of_biases], side) for _, of_input, of_biases in found], 1)
            for found in (contributions(trace, inputs, labels) for inputs, labels in parts)
        ]
    )


def _map(parts: list[Tensor], side: list[int]) -> Tensor:
    total = parts[0].new_zeros(len(parts[0]), 1, *side)
    for part in parts:
        if part.ndim == 4:
            size = part.abs()
            low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
            scaled = ((size - low) / (high - low).where(high != low, 1)).sum(1, keepdim=True)
            total = total + F.interpolate(scaled, side, mode="bilinear", antialias=True)
    return total[:, 0]


def contributions(trace: Trace, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
    """The score (N,), and the contributions of each input value (N, 3, S, S) and of each bias (N, K, ...).

    A bias counts once for every location that it is added to.

    Args:
        trace: Trace whose network is run again.
        inputs: (N, 3, S, S) normalised images.
        targets: (N, T) classes.

    Yields:
        These three for each of the T classes.
    """
    image = inputs.detach().clone().requires_grad_()
    with torch.enable_grad(), _Biases() as seen:
        scores = trace.network.logits(image).gather(1, targets)
    for score in scores.unbind(1):
        gradients = torch.autograd.grad(score.sum(), [image, *seen.outputs], allow_unused=True, retain_graph=True)
        pairs = zip(seen.biases, gradients[1:], strict=True)
        of_biases = [(bias * gradient).to(inputs.dtype) for bias, gradient in pairs if gradient is not None]
        yield score.detach(), image.detach() * gradients[0], of_biases


class _Biases(TorchFunctionMode):
    """Records every bias that is added in this thread, and the output that it is added to; no hook is needed.

    Attributes:
        outputs: Outputs of affine functions and of activations.
        biases: Their biases, of shapes that broadcast to the outputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []
        self.biases: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _AFFINE:
            bias, out = _AFFINE[func](*args, **kwargs), func(*args, **kwargs)
        elif getattr(func, "__name__", "") in ACTIVATIONS:
            bias = _implicit_bias(func, *args, **kwargs)  # First: the function may work in place.
            out = func(*args, **kwargs)
        else:
            return func(*args, **kwargs)
        if bias is None or not out.requires_grad:
            return out
        self.outputs.append(out)
        self.biases.append(bias.detach())
        return out.clone()  # The next layer may work in place, and the recorded output must not change.


def _argument(position: int, name: str) -> Callable[..., Tensor | None]:
    return lambda *args, **kwargs: args[position] if len(args) > position else kwargs.get(name)


def _convolution_bias(*args: Any, **kwargs: Any) -> Tensor | None:
    bias = _argument(2, "bias")(*args, **kwargs)
    return None if bias is None else bias.view(-1, 1, 1)


def _normalisation_bias(*args: Any, **kwargs: Any) -> Tensor:
    """Bias that batch normalisation adds in eval mode, beta - mu gamma / sigma."""
    given = inspect.signature(F.batch_norm).bind(*args, **kwargs)
    given.apply_defaults()
    mean, variance = given.arguments["running_mean"], given.arguments["running_var"]
    gamma, beta = given.arguments["weight"], given.arguments["bias"]
    scale = (variance + given.arguments["eps"]).rsqrt() * (1 if gamma is None else gamma)
    bias: Tensor = (0 if beta is None else beta) - mean * scale
    return bias.view(-1, *[1] * (given.arguments["input"].ndim - 2))


def _implicit_bias(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Bias a(z) - a'(z) z of an activation that is not homogeneous, such as ReLU6 beyond 6."""
    z: Tensor = args[0].detach().clone().requires_grad_()
    value: Tensor = func(z.clone(), *args[1:], **kwargs)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach() - slope * z.detach()


_AFFINE: dict[Any, Callable[..., Tensor | None]] = {
    torch.conv2d: _convolution_bias,
    F.linear: _argument(2, "bias"),
    F.batch_norm: _normalisation_bias,
}
ACTIVATIONS = {
    *("relu6", "hardtanh", "hardtanh_", "silu", "silu_", "gelu", "elu", "elu_", "selu", "celu", "softplus", "mish"),
    *("hardswish", "hardsigmoid", "sigmoid", "sigmoid_", "tanh", "tanh_"),
}
"""Elementwise functions that are not homogeneous; ReLU, leaky ReLU, pooling and sums add no bias."""
