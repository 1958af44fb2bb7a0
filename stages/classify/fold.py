"""Batch normalisation made part of the convolution before it: the same network in fewer passes over memory."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from stages.classify.probe import forward_noise, hooked

TOLERANCE = 1e-3
"""Share of the largest value by which folding may move one. Rounding moves it by some 1e-6."""


def folded(module: nn.Module, explained: Collection[str], size: int) -> nn.Module:
    """A copy whose normalisations scale and shift the weights of the convolutions before them.

    In eval mode a batch normalisation is one factor and one summand a channel. Which convolution feeds which is
    seen in a forward pass of noise, and whether nothing else reads it in between shows in another: where logits
    or explained maps move, or anything fails, the network stays as it is. A convolution with a bias of its own
    keeps its normalisation, because FullGrad tells the two biases apart.

    Args:
        module: In eval mode; not changed.
        explained: Dotted names of the explained layers, whose outputs must stay what they are.
        size: Side of the input in pixels.
    """
    pairs = _pairs(module, explained, size)
    if not pairs:
        return module
    try:
        found = copy.deepcopy(module)
        for convolution, norm in pairs:
            _fold(found, convolution, norm)
        alike = zip(_outputs(module, explained, size), _outputs(found, explained, size), strict=True)
        same = all(torch.allclose(a, b, rtol=0, atol=TOLERANCE * float(a.abs().max())) for a, b in alike)
    except Exception:  # Networks that cannot be copied, or that ask their normalisations for more than a call.
        return module
    return found if same else module


def _pairs(module: nn.Module, explained: Collection[str], size: int) -> list[tuple[str, str]]:
    """Names of convolutions, and of the normalisations that read their outputs."""
    made: dict[int, tuple[str, Tensor]] = {}
    pairs: list[tuple[str, str]] = []
    runs: Counter[str] = Counter()

    def watch(name: str, part: nn.Module, inputs: tuple, output: object) -> None:
        runs[name] += 1
        if _is_plain(part) and isinstance(output, Tensor):
            made[id(output)] = name, output  # Kept, so that no other tensor gets its number.
        elif type(part) is nn.BatchNorm2d and part.track_running_stats and inputs and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], name))

    with hooked(module, watch):
        forward_noise(module, size)
    readers = Counter(convolution for convolution, _ in pairs)
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if convolution not in explained and runs[convolution] == runs[norm] == readers[convolution] == 1
    ]


def _is_plain(part: nn.Module) -> bool:
    """Whether it is a convolution without a bias, whose weight nothing computes anew."""
    return isinstance(part, nn.Conv2d) and part.bias is None and "weight" in part._parameters


def _outputs(module: nn.Module, explained: Collection[str], size: int) -> list[Tensor]:
    """The logits of noise, and what the explained layers gave for it."""
    found: list[Tensor] = []

    def watch(name: str, _part: nn.Module, _inputs: tuple, output: object) -> None:
        if name in explained and isinstance(output, Tensor):
            found.append(output.clone())  # What follows may work in place.

    with hooked(module, watch):
        logits = forward_noise(module, size)
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
