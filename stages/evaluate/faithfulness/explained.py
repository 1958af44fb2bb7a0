"""One method's maps of a batch, and the explained network's confidence in images altered by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.trace.trace import Traced

CHUNK = 64
"""Altered images per pass, which bounds memory."""


class Explained:
    """Input of the faithfulness metrics; values that several of them need are computed once.

    Images are altered as the network gets them: 0 is the mean colour of its training images.

    Attributes:
        inputs: (N, 3, S, S) normalised images.
        target: (N,) classes that the maps explain.
        maps: (N, h, w) finite raw maps, any positive scale.
        confidence: (N,) probability of the class for the whole image.
        network: The explained network.
        explain: Function from (inputs, target) to the method's raw maps of other images.
        seeds: Random seeds, one per image.
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
        """Saliency (N, S, S) in [0, 1], see :func:`saliency`."""
        return saliency(self.maps, self.inputs.shape[3])

    @cached_property
    def rank(self) -> Tensor:
        """Rank of each pixel from the most salient to the least, (N, S S) int64.

        ReLU and coarse maps tie many pixels. Ties are broken by the map before its ReLU, then in raster order.
        """
        raw = _resized(self.maps, self.inputs.shape[3]).flatten(1)
        order = raw.argsort(dim=1, descending=True, stable=True)
        salient = self.saliency.flatten(1).gather(1, order)
        order = order.gather(1, salient.argsort(dim=1, descending=True, stable=True))
        places = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return torch.empty_like(order).scatter_(1, order, places)

    @cached_property
    def masked(self) -> Tensor:
        """Images (N, 3, S, S) of which only the salient part is left: x * M."""
        return self.inputs * self.saliency[:, None]

    @cached_property
    def masked_confidence(self) -> Tensor:
        """Probability (N,) of the class for :attr:`masked`."""
        return self.confidences(lambda image, _: self.masked[image], 1)[:, 0]

    @cached_property
    def masked_saliency(self) -> Tensor:
        """Saliency (N, S, S) of the method's maps for :attr:`masked`."""
        return saliency(self.explain(self.masked, self.target), self.inputs.shape[3])

    @torch.no_grad()
    def confidences(self, alter: Callable[[Tensor, Tensor], Tensor], versions: int) -> Tensor:
        """Probability (N, versions) of each image's class for altered versions of the image.

        Args:
            alter: Function from indices of images (M,) and of versions (M,) to altered images (M, 3, S, S).
            versions: Number of versions of each image.
        """
        count, device = len(self.inputs), self.inputs.device
        image = torch.arange(count, device=device).repeat_interleave(versions)
        version = torch.arange(versions, device=device).repeat(count)
        found = []
        for images, numbers in zip(torch.split(image, CHUNK), torch.split(version, CHUNK), strict=True):
            probs = self.network.probabilities(self.network.logits(alter(images, numbers)))
            found.append(probs.gather(1, self.target[images, None])[:, 0])
        return torch.cat(found).view(count, versions)


def saliency(maps: Tensor, size: int) -> Tensor:
    """Saliency (N, size, size) in [0, 1] of raw maps (N, h, w): ReLU, bilinear, minimum 0 and maximum 1.

    A map without a positive value is all 0, a constant positive one all 1.
    """
    positive = maps.relu()
    large = _resized(positive, size)
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    # Tested on the map itself: the kernel's rounding may turn a constant into a pattern.
    flat = (positive.amin((1, 2)) == positive.amax((1, 2)))[:, None, None]
    return torch.where(flat, (high > 0).to(large), (large - low) / (high - low).where(high > low, 1))


def _resized(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps[:, None], (size, size), mode="bilinear")[:, 0]
