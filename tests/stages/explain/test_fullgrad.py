"""Completeness, and the map against loops over layers whose biases are moved by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stages.errors import ConfigurationError
from stages.explain.methods.fullgrad import check_complete, contributions, fullgrad
from stages.trace.cut import CutNetwork
from tests.stages.explain.brute_force import TARGET
from tests.stages.toys import CLASSES, FlattenHead, GapLinear, seeded


class Residual(nn.Module):
    """A stem with batch normalisation, a residual block with in-place additions and activations, GAP + linear."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6))
        self.activation = activation or nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.BatchNorm2d(6))
        self.fc = nn.Linear(6, CLASSES)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean)
                nn.init.uniform_(part.running_var, 0.5, 2)
                nn.init.normal_(part.bias)
                nn.init.uniform_(part.weight, 0.5, 2)

    def forward(self, x):
        x = self.activation(self.stem(x))
        out = self.block(x)
        out += x
        return self.fc(F.max_pool2d(self.activation(out), 2).mean((2, 3)))


class Gated(Residual):
    """Squeeze and excitation: one activation times another."""

    def forward(self, x):
        x = self.stem(x)
        return self.fc((x * x.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))


class Normed(Residual):
    def forward(self, x):
        return self.fc(F.layer_norm(self.stem(x).mean((2, 3)), [6]))


NETWORKS = {
    "gap": (GapLinear, "features"),
    "flatten": (FlattenHead, "features"),
    "residual": (Residual, "block"),
    "relu6": (lambda: Residual(nn.ReLU6(inplace=True)), "block"),
    "silu": (lambda: Residual(nn.SiLU(inplace=True)), "block"),
}


def cut_of(name, factory=None, layer="block"):
    factory, layer = (factory, layer) if factory else NETWORKS[name]
    module = seeded(factory).requires_grad_(False)
    cut = CutNetwork(module, [layer], 32)
    module.double()
    return cut


@pytest.fixture
def images():
    return 3 * torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_contributions_add_up_to_the_score(images, name):
    cut = cut_of(name)
    trace = cut.trace(images)
    ((score, of_input, of_biases),) = contributions(trace, images, TARGET[:, None])
    torch.testing.assert_close(score, trace.score(TARGET).detach())
    total = of_input.sum((1, 2, 3)) + sum(part.flatten(1).sum(1) for part in of_biases)
    torch.testing.assert_close(total, score, rtol=1e-9, atol=1e-9)
    check_complete(trace)


def test_a_bias_contributes_what_its_parameter_does(images):
    """b dy/db by central differences of the parameter itself, summed over locations; BN's by beta and mu."""
    cut = cut_of("residual")
    module, trace = cut.module, cut.trace(images)
    ((_, _, found),) = contributions(trace, images, TARGET[:, None])

    def change(tensor, k, step=1e-6):
        before = tensor[k].item()
        scores = []
        for sign in (1, -1):
            tensor[k] = before + sign * step
            scores.append(cut.logits(images).gather(1, TARGET[:, None])[:, 0])
        tensor[k] = before
        return (scores[0] - scores[1]) / (2 * step)

    stem, conv, norm = module.stem[1], module.block[0], module.block[1]
    assert len(found) == 4  # the stem's normalisation, the block's convolution and normalisation, the linear layer
    for position, part in ((0, stem), (2, norm)):
        for k in range(6):
            expected = part.bias[k] * change(part.bias, k) + part.running_mean[k] * change(part.running_mean, k)
            torch.testing.assert_close(found[position][:, k].sum((1, 2)), expected, rtol=1e-6, atol=1e-7)
    for k in range(6):
        torch.testing.assert_close(
            found[1][:, k].sum((1, 2)), conv.bias[k] * change(conv.bias, k), rtol=1e-6, atol=1e-7
        )
    torch.testing.assert_close(found[3].sum(1), module.fc.bias[TARGET])


def test_the_map_is_the_sum_of_all_layers_one_channel_at_a_time(images):
    """The network written out by hand, every pre-activation a leaf of its own, one image at a time."""
    cut = cut_of("residual")
    module = cut.module
    maps = fullgrad(cut.trace(images), TARGET)
    assert maps.shape == (5, 16, 16) and not maps.requires_grad
    for row, c in enumerate(TARGET.tolist()):
        x = images[row : row + 1].clone().requires_grad_()
        first = module.stem(x)
        hidden = F.relu(first)
        inner = module.block[0](hidden)
        outer = module.block[1](inner)
        score = module.fc(F.max_pool2d(F.relu(outer + hidden), 2).mean((2, 3)))[0, c]
        leaves = [x, first, inner, outer]
        factors = [x.detach()[0]]
        for part in (module.stem[1], module.block[0], module.block[1]):
            bias = part.bias.clone()
            if isinstance(part, nn.BatchNorm2d):
                bias -= part.running_mean * part.weight / (part.running_var + part.eps).sqrt()
            factors.append(bias[:, None, None])
        expected = torch.zeros(16, 16, dtype=torch.float64)
        for factor, gradient in zip(factors, torch.autograd.grad(score, leaves), strict=True):
            share = (factor * gradient[0]).abs()
            share = (share - share.min()) / (share.max() - share.min())
            for channel in share:
                expected += F.interpolate(channel[None, None], (16, 16), mode="bilinear", antialias=True)[0, 0]
        torch.testing.assert_close(maps[row], expected)


@pytest.mark.parametrize("factory", [Gated, Normed])
def test_a_network_that_is_not_covered_is_refused(images, factory):
    cut = cut_of("", factory, "stem")
    with pytest.raises(ConfigurationError, match=r"fullgrad cannot explain this network: .* take layercam"):
        check_complete(cut.trace(images))


def test_images_beyond_a_chunk_are_explained_alike(images):
    cut = cut_of("gap")
    many, target = images.repeat(4, 1, 1, 1), TARGET.repeat(4)
    torch.testing.assert_close(fullgrad(cut.trace(many), target)[15:], fullgrad(cut.trace(images), TARGET))
