"""The first layers of one image seen through many coarse masks, for less than running them on each.

A mask is the upsampling of h w cells, and a convolution is linear: what it gives for the masked image is the sum, by
the cells' values, of its responses to h w images, each seen through the upsampling of one cell. Upsampling is local, so
few cells reach any one place: 2 x 2, and up to 3 x 3 where the kernel crosses a cell's centre. ReLU and pooling follow
while a row of sums is at hand, and the largest map of the network never stands in memory.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from stages.classify.stem import Stem

PRODUCTS = 40
"""A convolution whose values are sums of fewer products is quick enough as it is."""


def masked_stem(stem: nn.Module, image: Tensor, shape: tuple[int, int]) -> MaskedStem | None:
    """The stem of masked versions of an image, if that is less work: with 7 x 7 kernels and 7 x 7 cells, say.

    Args:
        stem: Of :class:`stages.classify.parts.Parts`.
        image: (1, C, S, S).
        shape: (h, w) of the masks.
    """
    if not isinstance(stem, Stem) or stem.convolution.weight[0].numel() < PRODUCTS:
        return None
    square = image.shape[2] == image.shape[3]
    narrow = 2 * stem.convolving.kernel * max(shape) <= image.shape[2]  # A kernel crosses three cells at most.
    known = image.dtype in (torch.float32, torch.float64)  # To numba.
    return MaskedStem(stem, image, shape) if square and narrow and known else None


class _Strip(NamedTuple):
    """Neighbouring rows (or columns) of the convolution, and the cells that reach them."""

    start: int
    stop: int
    first_cell: int
    last_cell: int

    @property
    def cells(self) -> slice:
        return slice(self.first_cell, self.last_cell + 1)

    @property
    def sums(self) -> int:
        """Responses that are summed, all in all, along this axis."""
        return (self.stop - self.start) * (self.last_cell + 1 - self.first_cell)


class MaskedStem:
    """``stem(image * up(mask))`` as a function of the mask.

    It keeps some four times what the convolution gives for one image.

    Args:
        stem: Convolution, ReLU and max pooling.
        image: (1, C, S, S).
        shape: (h, w) of the masks.
    """

    def __init__(self, stem: Stem, image: Tensor, shape: tuple[int, int]) -> None:
        self._stem = stem
        pad = stem.convolving.padding
        self._image = F.pad(image, (pad, pad, pad, pad))
        self._ups = [F.pad(_upsampling(cells, image), (0, 0, pad, pad)) for cells in shape]
        rows, columns = (self._strips(up) for up in self._ups)
        self._rows, self._columns = np.array(rows), np.array(columns)
        count = sum(row.sums for row in rows) * sum(column.sums for column in columns)
        self._responses = image.new_empty(count * stem.convolution.out_channels)
        begin = 0
        for row in rows:  # One after the other, because all of them are large.
            strip = torch.cat([self._tile(row, column) for column in columns], 1).flatten()
            self._responses[begin : begin + len(strip)] = strip
            begin += len(strip)

    def __call__(self, masks: Tensor) -> Tensor:
        """(M, O, H, H), channels last, of masks (M, h, w) before their upsampling."""
        convolution, pooling = self._stem.convolution, self._stem.pooling
        side = pooling.results(int(self._rows[-1, 1]))
        found = masks.new_zeros(len(masks), side, side, convolution.out_channels)
        bias = masks.new_zeros(convolution.out_channels) if convolution.bias is None else convolution.bias
        shares, responses, shift = (one.detach().numpy() for one in (masks.contiguous(), self._responses, bias))
        _sum_and_pool(shares, responses, shift, self._rows, self._columns, *pooling, found.numpy())
        return found.permute(0, 3, 1, 2)

    def _strips(self, up: Tensor) -> list[_Strip]:
        """Along one axis; as long as the same cells reach a row (or column) it belongs to the same strip."""
        kernel, stride, _ = self._stem.convolving
        reached = up.unfold(0, kernel, stride).any(2).int()
        last = up.shape[1] - 1 - reached.flip(1).argmax(1)
        places = enumerate(zip(reached.argmax(1).tolist(), last.tolist(), strict=True))
        groups = [list(group) for _, group in groupby(places, key=lambda place: place[1])]
        return [_Strip(group[0][0], group[-1][0] + 1, *group[0][1]) for group in groups]

    def _tile(self, row: _Strip, column: _Strip) -> Tensor:
        """(rows, cells x columns x channels) responses where two strips cross."""
        kernel, stride, _ = self._stem.convolving
        y, x = (slice(one.start * stride, (one.stop - 1) * stride + kernel) for one in (row, column))
        masks = torch.einsum("yi,xj->ijyx", self._ups[0][y, row.cells], self._ups[1][x, column.cells])
        seen = (self._image[:, :, y, x] * masks.flatten(0, 1)[:, None]).contiguous(memory_format=torch.channels_last)
        return F.conv2d(seen, self._stem.convolution.weight, stride=stride).permute(2, 0, 3, 1).flatten(1)


def _upsampling(cells: int, image: Tensor) -> Tensor:
    """(S, cells) the bilinear kernel of each cell along one axis."""
    return F.interpolate(torch.eye(cells).to(image)[None], image.shape[2], mode="linear")[0].T


@njit(cache=True, nogil=True)
def _sum_and_pool(
    masks: np.ndarray,
    responses: np.ndarray,
    bias: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    kernel: int,
    stride: int,
    padding: int,
    found: np.ndarray,
) -> None:
    """Raise ``found``, which is 0, to the largest sum in each of the pooling's windows."""
    width = columns[-1, 1]
    sums = np.empty((width, len(bias)), found.dtype)
    pooled = np.empty(found.shape[2:], found.dtype)
    end = 0
    for top, bottom, top_cell, bottom_cell in rows:
        for y in range(top, bottom):
            begin = end
            for m in range(len(masks)):
                end = begin
                sums[:] = bias
                for left, right, left_cell, right_cell in columns:
                    part = sums[left:right].reshape(-1)
                    for i in range(top_cell, bottom_cell + 1):
                        for j in range(left_cell, right_cell + 1):
                            share, response = masks[m, i, j], responses[end : end + len(part)]
                            for at in range(len(part)):
                                part[at] += share * response[at]
                            end += len(part)
                pooled[:] = 0
                for x in range(len(pooled)):
                    first = x * stride - padding
                    for read in range(max(0, first), min(width, first + kernel)):
                        np.maximum(pooled[x], sums[read], pooled[x])
                lowest, highest = (y + padding - kernel + stride) // stride, (y + padding) // stride
                for row in range(max(0, lowest), min(found.shape[1], highest + 1)):
                    np.maximum(found[m, row], pooled, found[m, row])
