"""What the network says of one image seen through many masks."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.explain.masked_stem import masked_stem
from stages.explain.masks import stretched
from stages.trace.cut import CutNetwork

CHUNK = {"cpu": 8, "cuda": 64}
"""Masked images that a whole network sees at a time; bounds the memory. On a CPU few are faster, because their
activations are small enough for the allocator to keep instead of asking the system for new pages each time."""
EARLY, LATE = 6, 12
"""Masked images that the early and the late part of a network see at a time. With 8 and 16 ResNet-18 is hardly faster,
and the heap, which seldom fits a large block where one of its size was freed, holds a third more."""


@torch.no_grad()
def logits_through(network: CutNetwork, image: Tensor, maps: Tensor) -> Tensor:
    """(M, C) logits of an image (1, 3, S, S) seen through minmax(up(map)) of (M, h, w) maps."""
    parts, size = network.parts, image.shape[2:]
    if parts is None or size != (parts.size, parts.size):
        chunks = maps.split(CHUNK.get(image.device.type, 64))
        return torch.cat([network.logits(_masked(image, chunk)) for chunk in chunks])
    stem = masked_stem(parts.stem, image, (maps.shape[1], maps.shape[2]))

    # ``forward``, because a call keeps its argument until it returns.
    def begin(few: Tensor) -> Tensor:
        if stem is None:
            return parts.early.forward(parts.stem(_masked(image, few)))
        return parts.early.forward(stem(stretched(few, size)[1]))

    many = maps.split(LATE)
    return torch.cat([parts.late.forward(torch.cat([begin(few) for few in some.split(EARLY)])) for some in many])


def _masked(image: Tensor, maps: Tensor) -> Tensor:
    masks = stretched(maps, image.shape[2:])[0]
    return (image * masks).contiguous(memory_format=torch.channels_last)
