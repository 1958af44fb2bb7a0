from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.train import networks


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_lecture_networks_have_the_published_sizes() -> None:
    assert _parameters(networks.lecture_gap()) == 101_578
    assert _parameters(networks.lecture_flatten()) == 388_298
    image = torch.zeros(2, 1, 64, 64)
    assert networks.lecture_flatten()(image).shape == (2, 10)
    assert networks.lecture_gap().features(image).shape == (2, 128, 6, 6)


@pytest.mark.parametrize("side", [64, 100])
def test_pooling_takes_any_side_and_colour_is_averaged(side: int) -> None:
    module = networks.lecture_gap().eval()
    colour = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(colour), module(colour.mean(1, keepdim=True)))
    assert module(colour).shape == (2, 10)


def test_the_demo_network_maps_quarter_resolution() -> None:
    module = networks.digits_cnn().eval()
    assert _parameters(module) == 135_786
    assert module.features(torch.zeros(1, 1, 96, 96)).shape == (1, 128, 24, 24)


def test_a_cell_of_the_demo_network_sees_the_pixels_around_its_centre() -> None:
    torch.manual_seed(0)
    module = networks.digits_cnn().eval()
    image = torch.rand(1, 1, 96, 96, requires_grad=True)
    module.features(image)[0, :, 10, 13].sum().backward()
    seen = image.grad[0, 0].abs() > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert abs((rows.min() + rows.max() + 1).item() / 2 - 4 * 10.5) <= 1
    assert abs((columns.min() + columns.max() + 1).item() / 2 - 4 * 13.5) <= 1
    assert 30 <= (rows.max() - rows.min() + 1).item() <= 34


def test_an_exact_class_activation_map() -> None:
    torch.manual_seed(0)
    module = networks.digits_cnn().eval()
    image = torch.rand(2, 1, 96, 96)
    weight, bias = module.classifier.weight, module.classifier.bias
    maps = torch.einsum("ck,nkhw->nchw", weight, module.features(image))
    torch.testing.assert_close(maps.mean((2, 3)) + bias, module(image))
