"""Networks of one input channel and of other precisions, made to take RGB in float32 as all others do."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError, first_line

if TYPE_CHECKING:
    from stages.classify.network import Preprocess

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


def of_colours(module: nn.Module, preprocess: Preprocess) -> tuple[nn.Module, Preprocess, list[str]]:
    """A network of grey images as one of RGB with the same logits, its preprocessing, and a note.

    The grey value is a weighted sum of red, green and blue, and a convolution of it is one of the three colours: with
    the same weights for each, times the colour's share. This is exact if the colours are normalised alike; a mean and
    a deviation for each colour become those of grey.

    Args:
        module: A network in eval mode; not changed.
        preprocess: Preprocessing that it expects.

    Raises:
        ConfigurationError: It takes one channel, but not by a convolution of the image.
    """
    convolutions = {name: one for name, one in module.named_modules() if isinstance(one, nn.Conv2d)}
    first = next((name for name, one in convolutions.items() if one.in_channels == 1), None)
    colours = _noise(module, 3, preprocess.size)
    if first is None or _logits(module, colours) is not None:
        return module, preprocess, []
    grey = (colours * torch.tensor(LUMA, dtype=colours.dtype).to(colours).view(1, 3, 1, 1)).sum(1, keepdim=True)
    expected, made = _logits(module, grey), copy.deepcopy(module)
    convolution = made.get_submodule(first)
    assert isinstance(convolution, nn.Conv2d)
    shares = torch.tensor(LUMA).to(convolution.weight).view(1, 3, 1, 1)
    try:
        convolution.weight = nn.Parameter(convolution.weight * shares, requires_grad=False)
        convolution.in_channels = 3
        found = made(colours)
    except Exception as error:  # A user's network may raise anything.
        raise ConfigurationError(f"{_REFUSED}: {first_line(error)}", about="network") from None
    if expected is None or not torch.allclose(found, expected, atol=TOLERANCE * float(expected.abs().max())):
        raise ConfigurationError(_REFUSED, about="network")
    mean, std = _grey(preprocess.mean), _grey(preprocess.std)
    note = (
        f"the network takes grey images: 0.299 red + 0.587 green + 0.114 blue, normalised with mean {mean[0]:.3g} and "
        f"standard deviation {std[0]:.3g}"
    )
    return made, replace(preprocess, mean=mean, std=std), [note]


_REFUSED = "the network takes one channel, but no convolution of the image; let it take RGB and make it grey itself"


def _grey(values: tuple[float, float, float]) -> tuple[float, float, float]:
    if len(set(values)) == 1:
        return values
    value = sum(share * value for share, value in zip(LUMA, values, strict=True))
    return value, value, value


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
