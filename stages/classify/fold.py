"""Batch normalisation folded into the convolution before it: the same network in fewer passes over memory."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from stages.classify.architectures.lite import SameConv2d
from stages.trace.probe import forward_noise, hooked

TOLERANCE = 1e-3
"""Share of the largest value by which folding may change any value. Rounding changes it by about 1e-6."""
_CONVOLUTIONS = (nn.Conv2d, SameConv2d)
"""Exact types of the convolutions that are folded: a subclass may do more than convolve."""


def folded(module: nn.Module, explained: Collection[str], size: int) -> nn.Module:
    """A copy whose normalisations scale and shift the weights of the convolutions before them.

    In eval mode a batch normalisation is one factor and one summand per channel. The network's graph shows
    which convolution feeds which normalisation, and that nothing else reads its output; the copy must then give
    the logits and explained maps of the original. Where the graph cannot be recorded, a step fails or a hook is
    registered, the network stays as it is. A convolution with a bias of its own keeps its normalisation,
    because FullGrad distinguishes the two biases.

    Args:
        module: Network in eval mode; not changed.
        explained: Dotted names of the explained layers, whose outputs must not change.
        size: Side of the input in pixels.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        return module
    try:
        found = copy.deepcopy(module)
        pairs = _pairs(found, explained)
        for convolution, norm in pairs:
            _fold(found, convolution, norm)
        alike = zip(_outputs(module, explained, size), _outputs(found, explained, size), strict=True)
        same = all(torch.allclose(a, b, rtol=0, atol=TOLERANCE * float(a.abs().max())) for a, b in alike)
    except Exception:  # It cannot be copied or traced, or does more with its normalisations than call them.
        return module
    return found if pairs and same else module


class _Tracer(fx.Tracer):
    """Records a network's operations in the order of running, a convolution or normalisation of any type as one.

    It raises an exception of any type where what runs depends on the images.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _pairs(module: nn.Module, explained: Collection[str]) -> list[tuple[str, str]]:
    """Names of convolutions, each with the normalisation that alone reads its output."""
    calls = [node for node in _Tracer().trace(module).nodes if node.op == "call_module"]
    runs = Counter(node.target for node in calls)
    pairs = []
    for norm in calls:
        source = norm.args[0] if norm.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        names = str(source.target), str(norm.target)
        once = runs[source.target] == runs[norm.target] == 1 and names[0] not in explained
        if once and _is_plain(*(module.get_submodule(name) for name in names)):
            pairs.append(names)
    return pairs


def _is_plain(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are ordinary: the weight is not recomputed, and the normalisation has statistics."""
    return (
        type(convolution) in _CONVOLUTIONS
        and convolution.bias is None
        and "weight" in convolution._parameters
        and type(norm) is nn.BatchNorm2d
        and norm.running_mean is not None
    )


def _outputs(module: nn.Module, explained: Collection[str], size: int) -> list[Tensor]:
    """The logits of noise, and the explained layers' outputs for it."""
    found: list[Tensor] = []

    def watch(name: str, _part: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
        if name in explained and isinstance(output, Tensor):
            found.append(output.clone())  # The next layer may work in place.

    with hooked(module, watch):
        logits = forward_noise(module, size, scale=3)  # A wider range than in earlier trials.
    return [logits, *found]


def _fold(module: nn.Module, convolution_name: str, norm_name: str) -> None:
    convolution, norm = module.get_submodule(convolution_name), module.get_submodule(norm_name)
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        *(convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    )
    convolution.weight, convolution.bias = (one.requires_grad_(False) for one in (weight, bias))
    parent, _, child = norm_name.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
