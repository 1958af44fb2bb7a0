"""Networks of one input channel and of other precisions, made to take RGB in float32 as all others do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError, first_line

Colours = tuple[float, float, float]
"""A value for each of red, green and blue."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey value: ITU-R 601, with which Pillow and torchvision turn images to grey."""
TOLERANCE = 1e-4
"""Share of the largest logit by which the two ways to a grey image may differ, from rounding."""


def in_float32(module: nn.Module, size: int) -> tuple[nn.Module, list[str]]:
    """The network with its numbers in float32, and a note; the network itself if it takes float32 already.

    Args:
        module: A network in eval mode; not changed.
        size: Side of its input in pixels.
    """
    types = {str(one.dtype).removeprefix("torch.") for one in module.parameters() if one.is_floating_point()}
    if types <= {"float32"} or _logits(module, _noise(module, 3, size)) is not None:
        return module, []
    note = f"the network's {', '.join(sorted(types - {'float32'}))} parameters are computed in float32"
    return copy.deepcopy(module).float(), [note]


def of_colours(
    module: nn.Module, size: int, mean: Colours, std: Colours
) -> tuple[nn.Module, Colours, Colours, list[str]]:
    """A network of grey images as one of RGB with the same logits, its mean and standard deviation, and a note.

    The grey value is a weighted sum of red, green and blue, and a convolution of it is one of the three colours: with
    the same weights for each, times the colour's share. This is exact if the colours are normalised alike; a mean and
    a deviation for each colour become those of grey.

    Args:
        module: A network in eval mode; not changed.
        size: Side of its input in pixels.
        mean: Mean that is subtracted from the colours.
        std: Standard deviation that they are divided by.

    Raises:
        ConfigurationError: It takes one channel, but not by a convolution of the image.
    """
    parts = module.named_modules()
    first = next((name for name, one in parts if isinstance(one, nn.Conv2d) and one.in_channels == 1), None)
    if first is None or _logits(module, colours := _noise(module, 3, size)) is not None:
        return module, mean, std, []
    expected = _logits(module, (colours * _shares(colours)).sum(1, keepdim=True))
    if expected is None:
        return module, mean, std, []  # It fails for another reason, which is told where it is tried.
    made = copy.deepcopy(module)
    convolution = made.get_submodule(first)
    assert isinstance(convolution, nn.Conv2d)
    try:
        weight = convolution.weight * _shares(convolution.weight)
        convolution.weight, convolution.in_channels = nn.Parameter(weight, requires_grad=False), 3
        found = made(colours)
        same = torch.allclose(found, expected, atol=TOLERANCE * float(expected.abs().max()))
    except Exception as error:  # A user's network may raise anything.
        raise ConfigurationError(f"{_REFUSED}: {first_line(error)}", about="network") from None
    if not same:
        raise ConfigurationError(_REFUSED, about="network")
    mean, std = _grey(mean), _grey(std)
    note = (
        f"the network takes grey images: 0.299 red + 0.587 green + 0.114 blue, normalised with mean {mean[0]:.3g} and "
        f"standard deviation {std[0]:.3g}"
    )
    return made, mean, std, [note]


_REFUSED = "the network takes one channel, but no convolution of the image; let it take RGB and make it grey itself"


def _grey(values: Colours) -> Colours:
    if len(set(values)) == 1:
        return values
    value = sum(share * value for share, value in zip(LUMA, values, strict=True))
    return value, value, value


def _shares(like: Tensor) -> Tensor:
    """The shares of the colours, (1, 3, 1, 1)."""
    return torch.tensor(LUMA, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def _noise(module: nn.Module, channels: int, size: int) -> Tensor:
    device = next(module.parameters(), torch.empty(0)).device
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0)).to(device)


@torch.no_grad()
def _logits(module: nn.Module, images: Tensor) -> Tensor | None:
    """The output for images; None if the network does not take them."""
    try:
        found = module(images)
    except Exception:  # A user's network may raise anything.
        return None
    return found if isinstance(found, Tensor) else None
