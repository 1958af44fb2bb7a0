"""Maps as masks that are laid over the image, and what the network says of it behind them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.trace.trace import Traced

CHUNK = {"cpu": 8, "cuda": 64}
"""Masked images that a network sees at a time; bounds the memory. On a CPU few are faster, because their
activations are small enough for the allocator to keep instead of asking the system for new pages each time."""


def stretched(maps: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """minmax(up(map)) at the image's size, and the map that it is the upsampling of.

    Upsampling reaches a map's extremes only where a pixel lies on a cell's centre, so the order matters: only
    this one gives masks that span 0 to 1. A constant map becomes zero, to rounding.

    Args:
        maps: (M, h, w).
        shape: (S, S) of the image.

    Returns:
        (M, 1, S, S) from 0 to 1, and (M, h, w), which may go a little beyond.
    """
    large = F.interpolate(maps[:, None], shape, mode="bilinear")[:, 0]
    low, high = (extreme((1, 2), keepdim=True) for extreme in (large.amin, large.amax))
    # Asked of the map itself, because rounding gives an upsampled constant a range.
    varies = maps.amax((1, 2), keepdim=True) > maps.amin((1, 2), keepdim=True)
    span = (high - low).where(varies, 1)
    return ((large - low) / span)[:, None], (maps - low) / span


@torch.no_grad()
def logits_through(network: Traced, image: Tensor, maps: Tensor) -> Tensor:
    """(M, C) logits of an image (1, 3, S, S) seen through minmax(up(map)) of (M, h, w) maps."""
    chunks = torch.split(maps, CHUNK.get(image.device.type, 64))
    return torch.cat([network.logits(_masked(image, chunk)) for chunk in chunks])


def _masked(image: Tensor, maps: Tensor) -> Tensor:
    masks = stretched(maps, image.shape[2:])[0]
    return (image * masks).contiguous(memory_format=torch.channels_last)
