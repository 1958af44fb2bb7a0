"""One method's maps of a batch, and what the explained network says of the images that they alter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.trace.trace import Traced

CHUNK = 64
"""Altered images that the network sees at a time; bounds the memory."""


class Explained:
    """What faithfulness metrics read; everything that several of them need is computed once.

    Images are altered as the network gets them: 0 is the mean colour of its training images.

    Attributes:
        inputs: (N, 3, S, S) normalised images.
        target: (N,) the class that each map explains.
        maps: (N, h, w) finite raw maps, any positive scale.
        confidence: (N,) softmax probability of the class for the whole image.
        network: The explained network.
        explain: (inputs, target) to the method's raw maps of other images.
        seeds: One an image, of what is random about it.
    """

    def __init__(
        self,
        inputs: Tensor,
        target: Tensor,
        maps: Tensor,
        confidence: Tensor,
        network: Traced,
        explain: Callable[[Tensor, Tensor], Tensor],
        seeds: Sequence[int],
    ) -> None:
        self.inputs, self.target, self.maps, self.confidence = inputs, target, maps, confidence
        self.network, self.explain, self.seeds = network, explain, seeds

    @cached_property
    def saliency(self) -> Tensor:
        """(N, S, S) in [0, 1], see :func:`saliency`."""
        return saliency(self.maps, self.inputs.shape[3])

    @cached_property
    def rank(self) -> Tensor:
        """(N, S S) int64, the place of each pixel when they are sorted from the most salient to the least.

        ReLU and coarse maps tie many pixels. Ties go by the map before its ReLU, then in reading order.
        """
        raw = _resized(self.maps, self.inputs.shape[3]).flatten(1)
        order = raw.argsort(dim=1, descending=True, stable=True)
        salient = self.saliency.flatten(1).gather(1, order)
        order = order.gather(1, salient.argsort(dim=1, descending=True, stable=True))
        places = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return torch.empty_like(order).scatter_(1, order, places)

    @cached_property
    def masked(self) -> Tensor:
        """(N, 3, S, S) images of which only the salient part is left: x * M."""
        return self.inputs * self.saliency[:, None]

    @cached_property
    def masked_confidence(self) -> Tensor:
        """(N,) probability of the class for :attr:`masked`."""
        return self.confidences(lambda image, _: self.masked[image], 1)[:, 0]

    @cached_property
    def masked_saliency(self) -> Tensor:
        """(N, S, S) what the method shows for :attr:`masked`."""
        return saliency(self.explain(self.masked, self.target), self.inputs.shape[3])

    @torch.no_grad()
    def confidences(self, alter: Callable[[Tensor, Tensor], Tensor], versions: int) -> Tensor:
        """(N, versions) probability of each image's class for altered versions of it.

        Args:
            alter: Indices of images (M,) and of versions (M,) to (M, 3, S, S).
            versions: How many of each image.
        """
        count, device = len(self.inputs), self.inputs.device
        image = torch.arange(count, device=device).repeat_interleave(versions)
        version = torch.arange(versions, device=device).repeat(count)
        found = []
        for images, numbers in zip(torch.split(image, CHUNK), torch.split(version, CHUNK), strict=True):
            probs = self.network.logits(alter(images, numbers)).softmax(1)
            found.append(probs.gather(1, self.target[images, None])[:, 0])
        return torch.cat(found).view(count, versions)


def saliency(maps: Tensor, size: int) -> Tensor:
    """(N, size, size) in [0, 1]: ReLU, bilinear, minimum 0 and maximum 1, of raw maps (N, h, w).

    A map without a positive value is all 0, a constant positive one all 1.
    """
    positive = maps.relu()
    large = _resized(positive, size)
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    # Told on the map itself: the kernel's rounding may make a pattern of a constant.
    flat = (positive.amin((1, 2)) == positive.amax((1, 2)))[:, None, None]
    return torch.where(flat, (high > 0).to(large), (large - low) / (high - low).where(high > low, 1))


def _resized(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps[:, None], (size, size), mode="bilinear")[:, 0]
