"""Properties of a network found by a forward pass on noise: its last map, and the head that follows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import ConfigurationError
from stages.trace.layout import to_maps
from stages.trace.outputs import Head, TwoClasses

Watch = Callable[[str, nn.Module, tuple[Any, ...], object], None]
"""Callback that gets the name, the module, the inputs and the output of a part that has run."""

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d)
_IMAGES = 2


def last_spatial_layer(module: nn.Module, size: int) -> str:
    """Dotted name of the layer that is explained by default.

    It is the last module whose output is a map, before pooling: VGG's last ReLU, ResNet's layer4, Swin's last
    norm. In a vision transformer it is the input of the last attention, its block's first norm: after that
    attention, patches no longer reach a class token and get no gradient.

    Raises:
        ConfigurationError: No module gives a map of h, w > 1.
    """
    maps: list[tuple[str, Tensor]] = []
    pooled: list[Tensor] = []
    tokens: list[tuple[str, Tensor]] = []
    attended: list[object] = []
    runs: Counter[str] = Counter()

    def watch(name: str, part: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        runs[name] += 1
        if "attention" in type(part).__name__.lower() and inputs:
            attended.append(inputs[0])
        if not isinstance(output, Tensor) or len(output) != _IMAGES:
            return  # windows or attention weights
        if isinstance(part, _POOLS):
            pooled.append(output)
        elif output.ndim == 4 and _is_square(to_maps(output)):
            maps.append((name, output))
            tokens.clear()
        elif output.ndim == 3:
            tokens.append((name, output))

    with hooked(module, watch):
        forward_noise(module, size)
    if tokens:
        for name, output in reversed(tokens):
            if runs[name] == 1 and to_maps(output) is not None and attended and output is attended[-1]:
                return name
        raise ConfigurationError(
            f"behind its last map the network works on tokens ({tokens[0][0]}), which have no map; "
            "name a convolutional layer to explain",
            about="layer",
        )
    for name, output in reversed(maps):
        # A container that ends in a pool gives the pool's output under its own name.
        if runs[name] == 1 and not any(output is pool for pool in pooled):
            return name
    raise ConfigurationError("no layer of the network gives a map (N, K, h, w) to explain", about="network")


def gap_linear_head(module: nn.Module, layer: nn.Module, size: int) -> Head | None:
    """The classifier's linear layer, if the logits are exactly linear(mean over h and w of the layer's output).

    This is tested, not guessed from names: both sides are computed on noise and compared. Where the means
    themselves are the logits (Lin, Chen & Yan 2014; SqueezeNet), the layer is the identity. Where a layer of one
    output gives the logits of two classes, both signs of it are the layer.
    """
    caught: list[Tensor | None] = []

    def catch(_module: nn.Module, _inputs: object, output: object) -> None:
        maps = to_maps(output)
        # Computed at once, because an in-place ReLU that belongs to the head may follow.
        caught.append(None if maps is None else maps.mean((2, 3)))

    handle = layer.register_forward_hook(catch)
    try:
        logits = forward_noise(module, size)
    finally:
        handle.remove()
    means = caught[0] if len(caught) == 1 else None
    # Logits that are all zero, as an untrained transformer's, would match any head.
    if means is None or not logits.isfinite().all() or not logits.any():
        return None
    atol = 1e-4 * float(logits.abs().max())
    for head in _heads(module, means, logits.shape[1]):
        if torch.allclose(F.linear(means, head.weight, head.bias), logits, rtol=1e-4, atol=atol):
            return head
    return None


def _heads(module: nn.Module, means: Tensor, classes: int) -> Iterator[Head]:
    """Every head that could give the logits of so many classes from means (N, K)."""
    channels = means.shape[1]
    linear = [part for part in module.modules() if isinstance(part, nn.Linear) and part.in_features == channels]
    yield from (one for one in linear if one.out_features == classes)
    if channels == classes:
        yield _identity(means)
    if classes == 2:
        yield from (TwoClasses(one) for one in linear if one.out_features == 1)
        if channels == 1:
            yield TwoClasses(_identity(means))


def order_of_running(module: nn.Module, names: Sequence[str], size: int) -> list[str]:
    """The given layer names in the order in which the layers finish in a forward pass; those that never run
    come last."""
    order: list[str] = []
    with hooked(module, lambda name, *_: order.append(name)):
        forward_noise(module, size)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def check_repeatable(module: nn.Module, size: int) -> None:
    """Check that two passes over the same image agree.

    Raises:
        ConfigurationError: Two passes over the same images differ.
    """
    first, second = forward_noise(module, size), forward_noise(module, size)
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.nan_to_num().abs().max()), equal_nan=True):
        raise ConfigurationError(
            "two passes over the same image differ: the network draws random numbers in eval mode; "
            "make its dropout depend on self.training",
            about="network",
        )


@torch.no_grad()
def forward_noise(module: nn.Module, size: int, scale: float = 1.0) -> Tensor:
    """Logits (2, C) of two images of noise with standard deviation ``scale``; the same noise every time."""
    module.eval()
    return checked_logits(module(noise(module, size, scale)))


def noise(module: nn.Module, size: int, scale: float = 1.0) -> Tensor:
    """The two images of :func:`forward_noise`, (2, 3, size, size), as the network takes them."""
    parameter = next(module.parameters(), torch.empty(0))
    images = scale * torch.randn(_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    return images.to(parameter.device, parameter.dtype)


def checked_logits(output: object) -> Tensor:
    """The output of a network, checked to be logits.

    Raises:
        ConfigurationError: The output is not an (N, C) tensor.
    """
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise ConfigurationError(f"the network returns {what}, not logits (N, C)", about="network")


@contextmanager
def hooked(module: nn.Module, watch: Watch) -> Iterator[None]:
    """Call ``watch`` for every part of the network that runs."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], object], None]:
        return lambda part, inputs, output: watch(name, part, inputs, output)

    handles = [part.register_forward_hook(hook(name)) for name, part in hookable(module) if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hookable(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The network's parts by dotted name, without those that torch does not allow to hook: TorchScript."""
    yield from ((name, part) for name, part in module.named_modules() if not isinstance(part, torch.jit.ScriptModule))


def _is_square(maps: Tensor | None) -> bool:
    return maps is not None and maps.shape[2] == maps.shape[3]


def _identity(like: Tensor) -> nn.Linear:
    """A linear layer that is the identity."""
    size = like.shape[1]
    head = nn.Linear(size, size, device="meta", dtype=like.dtype).to_empty(device=like.device).requires_grad_(False)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return head
