"""Maps as masks over the image, and the network's logits for the masked image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.trace.trace import Traced

CHUNK = {"cpu": 8, "cuda": 64}
"""Masked images per pass, which bounds memory. On a CPU a small number is faster, because the allocator keeps
small activations instead of requesting new pages each time."""


def stretched(maps: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The mask minmax(up(map)) at the image's size, and the map of which it is the upsampling.

    Upsampling reaches a map's extremes only where a pixel lies on a cell's centre, so the order matters: only
    this order gives masks that span 0 to 1. A constant map becomes zero, up to rounding.

    Args:
        maps: (M, h, w).
        shape: Size (S, S) of the image.

    Returns:
        (M, 1, S, S) from 0 to 1, and (M, h, w), which may go a little beyond.
    """
    large = F.interpolate(maps[:, None], shape, mode="bilinear")[:, 0]
    low, high = (extreme((1, 2), keepdim=True) for extreme in (large.amin, large.amax))
    # Tested on the map itself, because rounding gives an upsampled constant a range.
    varies = maps.amax((1, 2), keepdim=True) > maps.amin((1, 2), keepdim=True)
    span = (high - low).where(varies, 1)
    return ((large - low) / span)[:, None], (maps - low) / span


@torch.no_grad()
def logits_through(network: Traced, image: Tensor, maps: Tensor) -> Tensor:
    """Logits (M, C) of an image (1, 3, S, S) masked by minmax(up(map)) of (M, h, w) maps."""
    chunks = torch.split(maps, CHUNK.get(image.device.type, 64))
    return torch.cat([network.logits(_masked(image, chunk)) for chunk in chunks])


def _masked(image: Tensor, maps: Tensor) -> Tensor:
    masks = stretched(maps, image.shape[2:])[0]
    return (image * masks).contiguous(memory_format=torch.channels_last)
