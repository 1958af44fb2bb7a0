"""Several layers in one pass against each layer alone, and their fusion against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from stages.classify.network import Network
from stages.errors import ConfigurationError
from stages.explain.registry import explainers, get_explainer
from stages.trace.cut import CutNetwork
from stages.trace.fuse import maximum_of_scaled, mean_of_maxima
from stages.trace.layers import LayeredNetwork
from stages.trace.views import Views
from tests.stages.toys import FlattenHead, GapLinear, seeded

TARGET = torch.tensor([2, 5, 0])
NAMES = ["features.3", "features.1"]  # in no order; 8x8 and 16x16


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def alone(name: str) -> CutNetwork:
    module = seeded(GapLinear).requires_grad_(False)
    return CutNetwork(module, module.get_submodule(name), name, 32)


def together() -> LayeredNetwork:
    return LayeredNetwork(seeded(GapLinear).requires_grad_(False), NAMES, 32)


def test_one_pass_sees_what_each_layer_alone_sees(images):
    trace = together().trace(images)
    for one, name in zip(trace.layers, ["features.1", "features.3"], strict=True):
        expected = alone(name).trace(images)
        torch.testing.assert_close(one.activations, expected.activations)
        torch.testing.assert_close(one.gradients(TARGET), expected.gradients(TARGET))
    assert torch.equal(trace.logits, expected.logits)


def test_one_backward_pass_serves_all_layers(images, monkeypatch):
    module = seeded(FlattenHead).requires_grad_(False)
    trace = LayeredNetwork(module, ["features.2", "features.0"], 32).trace(images)
    calls, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **named: calls.append(1) or grad(*args, **named))
    assert all(one.gradients(TARGET).any() for one in trace.layers)
    assert len(calls) == 1


@pytest.mark.parametrize("flip", [False, True])
def test_every_method_is_the_fusion_of_its_maps(images, flip, few_steps):
    views = Views(together().trace(images), flip, [1.0])
    for name, one in explainers().items():
        if one.needs_linear_head:
            with pytest.raises(ConfigurationError, match=name):
                get_explainer(name, has_linear_head=False)
            continue
        found = views.explain(one.function, TARGET, one.fuse)
        maps = [Views(alone(at).trace(images), flip, [1.0]).explain(one.function, TARGET) for at in sorted(NAMES)]
        torch.testing.assert_close(found, one.fuse(maps), rtol=1e-3, atol=1e-4, msg=name)
        assert found.shape[1:] == (16, 16) or "augmented" in name


def test_the_mean_of_what_is_positive():
    shallow = torch.tensor([[[4.0, -2.0], [0.0, 2.0]], [[-1.0, -1.0], [-1.0, 0.0]]])
    deep = torch.tensor([[[0.5, 0.0], [1.0, -9.0]], [[3.0, 0.0], [0.0, 0.0]]])
    expected = [[[0.75, 0.0], [0.5, 0.25]], [[0.5, 0.0], [0.0, 0.0]]]
    torch.testing.assert_close(mean_of_maxima([shallow, deep]), torch.tensor(expected))


def test_layercams_maximum():
    shallow = torch.tensor([[[4.0, -2.0], [0.0, 2.0]]])
    deep = torch.tensor([[[0.5, 0.0], [1.0, -9.0]]])
    expected = [[[math.tanh(2), 0.0], [1.0, math.tanh(1)]]]
    torch.testing.assert_close(maximum_of_scaled([shallow, deep]), torch.tensor(expected))
    assert get_explainer("layercam", False).fuse is maximum_of_scaled


def test_the_largest_grid():
    large, small = torch.rand(1, 8, 8), torch.rand(1, 4, 4)
    up = F.interpolate((small / small.max())[:, None], (8, 8), mode="bilinear")[:, 0]
    torch.testing.assert_close(mean_of_maxima([large, small]), (large / large.max() + up) / 2)


def test_a_layer_named_twice():
    network = Network(seeded(GapLinear), layer="features")
    assert network.resolve_layers(["features.1", "last"]) == ["features.1", "features"]
    with pytest.raises(ConfigurationError, match="features stands twice"):
        network.resolve_layers(["last", "features"])
