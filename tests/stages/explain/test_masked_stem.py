"""A stem as a sum of its responses to single cells, beside the stem itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from stages.classify.stem import Stem
from stages.explain.masked_stem import MaskedStem, masked_stem


def stem_of(convolution: tuple[int, int, int], pool: tuple[int, int, int], bias: bool = True) -> Stem:
    """Of kernels, strides and paddings, with random weights, in float64."""
    torch.manual_seed(0)
    made = Stem(nn.Conv2d(3, 5, *convolution, bias=bias), nn.ReLU(inplace=True), nn.MaxPool2d(*pool))
    return made.double().requires_grad_(False)


def brute_force(stem: Stem, image: Tensor, masks: Tensor) -> Tensor:
    return stem(image * F.interpolate(masks[:, None], image.shape[2:], mode="bilinear"))


def check(stem: Stem, size: int, shape: tuple[int, int]) -> None:
    image, masks = torch.randn(1, 3, size, size).double(), torch.rand(3, *shape).double()
    expected = brute_force(stem, image, masks)
    torch.testing.assert_close(MaskedStem(stem, image, shape)(masks), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("convolution", "pool", "size", "shape"),
    [
        ((7, 2, 3), (3, 2, 1), 224, (7, 7)),  # ResNet, DenseNet
        ((11, 4, 2), (3, 2, 0), 224, (6, 6)),  # AlexNet
        ((7, 2, 3), (3, 2, 1), 97, (4, 3)),  # nothing divides anything
        ((5, 1, 0), (2, 2, 0), 50, (1, 5)),
        ((4, 4, 0), (3, 3, 1), 64, (8, 8)),
        ((3, 5, 1), (2, 1, 0), 61, (2, 9)),  # pixels that no window reads
    ],
)
def test_is_the_stem_of_the_masked_image(convolution, pool, size, shape, bias):
    check(stem_of(convolution, pool, bias), size, shape)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_is_the_stem_of_the_masked_image_whatever_the_geometry(data):
    kernel, pooled = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    convolution = kernel, data.draw(st.integers(1, 5)), data.draw(st.integers(0, kernel // 2))
    pool = pooled, data.draw(st.integers(1, 4)), data.draw(st.integers(0, pooled // 2))
    shape = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    check(stem_of(convolution, pool), data.draw(st.integers(30, 60)), shape)


def test_masks_may_lie_in_memory_in_any_way():
    stem, image, masks = stem_of((7, 2, 3), (3, 2, 1)), torch.randn(1, 3, 64, 64).double(), torch.rand(3, 3, 4).double()
    fast = MaskedStem(stem, image, (3, 3))
    turned = masks[:, :, :3].transpose(1, 2)
    torch.testing.assert_close(fast(turned), brute_force(stem, image, turned), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("stem", "cells", "taken"),
    [
        (stem_of((7, 2, 3), (3, 2, 1)), 7, True),
        (stem_of((7, 2, 3), (3, 2, 1)), 28, False),  # a kernel crosses many of the small cells
        (stem_of((3, 2, 1), (3, 2, 1)), 7, False),  # 27 products are less trouble than up to nine sums
        (nn.Identity(), 7, False),
    ],
)
def test_is_there_where_it_is_less_work(stem, cells, taken):
    assert (masked_stem(stem, torch.zeros(1, 3, 224, 224).double(), (cells, cells)) is not None) == taken


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 3, 224, 192), torch.float32), ((1, 3, 224, 224), torch.float16)], ids=["oblong", "half"]
)
def test_is_not_there_for_images_that_it_cannot_take(shape, dtype):
    stem = stem_of((7, 2, 3), (3, 2, 1)).to(dtype)
    assert masked_stem(stem, torch.zeros(shape, dtype=dtype), (5, 5)) is None
