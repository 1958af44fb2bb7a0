"""The same network and weights at twice the resolution of the explained layer, a trous.

The last halving before the layer is left out, and the layers after it read every second cell, so every original
cell is still computed from the same values: the original map lies exactly on every second row and column of the
new one. ResNets have this built in (``replace_stride_with_dilation``); here any network whose last halving is a
strided convolution or pool can have it, if a trial shows that it holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError
from stages.trace.probe import forward_noise, gap_linear_head

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
TOLERANCE = 1e-5
"""Share of the map's largest value by which the contained map may differ from the original in float32."""


def dilated(module: nn.Module, layer: str, size: int) -> nn.Module:
    """A copy that shares the weights, and whose layer gives maps of about twice the sides.

    Args:
        module: Network in eval mode, without hooks.
        layer: Dotted name of the explained layer.
        size: Side of the input in pixels.

    Raises:
        ConfigurationError: The original map would not be contained, or the head is not GAP + linear, the only
            one that accepts a larger map.
    """
    shared: dict[int, Any] = {id(one): one for one in (*module.parameters(), *module.buffers())}
    found = copy.deepcopy(module, shared)
    original, windows = _watch(module, layer, size)
    side = original.shape[2]
    halvings = [name for name, before, after in windows if after == side < before]
    for name in halvings:
        window: Any = found.get_submodule(name)
        window.stride = (1, 1)
    for name, before, _ in windows:
        if before == side:
            parent, _, child = name.rpartition(".")
            setattr(found.get_submodule(parent), child, _spread(found.get_submodule(name)))
    try:
        larger, _ = _watch(found, layer, size)
    except RuntimeError:  # A branch has another size.
        larger = original
    if not halvings or not _contains(larger, original):
        raise ConfigurationError(
            f"{layer} has no a trous form that contains the original map; it needs one strided convolution or pool "
            "before the layer and plain convolutions or maximum pools behind that, as in ResNet and GoogLeNet; "
            "do not dilate it",
            about="dilate",
        )
    if gap_linear_head(found, found.get_submodule(layer), size) is None:
        raise ConfigurationError(
            f"behind {layer} the network does not end in GAP + linear, which alone takes maps of any size; "
            "do not dilate it",
            about="dilate",
        )
    return found


def _watch(module: nn.Module, layer: str, size: int) -> tuple[Tensor, list[tuple[str, int, int]]]:
    """The layer's output on noise, and the sides before and after every window that runs up to it, with its name."""
    windows: list[tuple[str, int, int]] = []
    maps: list[Tensor] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not maps:
                windows.append((name, inputs[0].shape[2], output.shape[2]))

        return hook

    # The layer may be a window itself, which then counts as running up to it.
    handles = [
        part.register_forward_hook(watch(name)) for name, part in module.named_modules() if isinstance(part, _WINDOWS)
    ]
    handles.append(module.get_submodule(layer).register_forward_hook(lambda _m, _i, output: maps.append(output)))
    try:
        forward_noise(module, size)
    finally:
        for handle in handles:
            handle.remove()
    return maps[0], windows


def _spread(part: Any) -> Any:
    """The window, reading every second cell; an average pool cannot do so, and fails the trial."""
    if isinstance(part, nn.AvgPool2d):
        return part
    part.dilation = tuple(2 * one for one in _pair(part.dilation))
    if isinstance(part.padding, str):
        return part
    down, right = (2 * one for one in _pair(part.padding))
    if isinstance(part, nn.MaxPool2d) and (down or right):
        # torch refuses to pad a pool by more than half its kernel, however far that reaches.
        part.padding = 0
        return nn.Sequential(nn.ConstantPad2d((right, right, down, down), -torch.inf), part).eval()
    part.padding = (down, right)
    return part


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _contains(larger: Tensor, original: Tensor) -> bool:
    """Whether every second cell is the original map; TensorFlow's padding begins with the second cell."""
    tolerance = TOLERANCE * float(original.abs().max())
    every_second = (larger[..., start::2, start::2] for start in (0, 1))
    return any(one.shape == original.shape and torch.allclose(one, original, 0, tolerance) for one in every_second)
