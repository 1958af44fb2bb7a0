"""Masks against minmax of the upsampled map, and the network behind them, asked about each image alone."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from stages.explain import masking
from stages.explain.masking import logits_through, stretched
from tests.stages.explain.brute_force import network


def test_a_mask_spans_0_to_1_and_is_the_upsampled_map():
    maps = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(0))
    large, small = stretched(maps, (32, 32))
    assert large.shape == (4, 1, 32, 32)
    torch.testing.assert_close(large.amin((1, 2, 3)), torch.zeros(4))
    torch.testing.assert_close(large.amax((1, 2, 3)), torch.ones(4))
    torch.testing.assert_close(F.interpolate(small[:, None], (32, 32), mode="bilinear"), large)
    assert (small < 0).any() and (small > 1).any()


def test_a_constant_map_masks_everything():
    """Upsampled, a tenth is a tenth only to rounding, which must not be stretched to 0 and 1."""
    maps = torch.full((1, 7, 7), 0.1)
    up = F.interpolate(maps[:, None], (50, 50), mode="bilinear")
    assert up.amax() > up.amin()
    large, small = stretched(maps, (50, 50))
    assert large.abs().max() < 1e-6 and small.abs().max() < 1e-6


def test_the_network_is_asked_about_a_few_masked_images_at_a_time(monkeypatch):
    monkeypatch.setattr(masking, "CHUNK", {"cpu": 4})
    cut, generator = network("flatten"), torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=generator)
    maps = torch.randn(9, 4, 4, dtype=torch.float64, generator=generator)
    expected = torch.cat([cut.logits(image * stretched(one[None], (32, 32))[0]) for one in maps])
    seen = []
    cut.module.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    torch.testing.assert_close(logits_through(cut, image, maps), expected)
    assert seen == [4, 4, 1] and expected.std(0).max() > 0
