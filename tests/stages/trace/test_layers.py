"""Several layers in one pass against each layer alone, and their fusion against loops."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch
from torch.nn import functional as F

from stages.classify.network import Network
from stages.errors import ConfigurationError
from stages.explain.registry import get_explainer, single_pass
from stages.trace.cut import CutNetwork
from stages.trace.fuse import maximum_of_scaled, mean_of_maxima
from stages.trace.views import Views
from tests.stages.toys import FlattenHead, GapLinear, seeded

TARGET = torch.tensor([2, 5, 0])
NAMES = ["features.3", "features.1"]  # in no order; 8x8 and 16x16


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def alone(name: str) -> CutNetwork:
    module = seeded(GapLinear).requires_grad_(False)
    return CutNetwork(module, [name], 32)


def together() -> CutNetwork:
    return CutNetwork(seeded(GapLinear).requires_grad_(False), NAMES, 32)


def test_one_pass_sees_what_each_layer_alone_sees(images):
    trace = together().trace(images)
    for one, name in zip(trace.layers, ["features.1", "features.3"], strict=True):
        expected = alone(name).trace(images)
        torch.testing.assert_close(one.activations, expected.activations)
        torch.testing.assert_close(one.gradients(TARGET), expected.gradients(TARGET))
    assert torch.equal(trace.logits, expected.logits)


def test_one_backward_pass_serves_all_layers(images, monkeypatch):
    module = seeded(FlattenHead).requires_grad_(False)
    trace = CutNetwork(module, ["features.2", "features.0"], 32).trace(images)
    calls, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **named: calls.append(1) or grad(*args, **named))
    assert all(one.gradients(TARGET).any() for one in trace.layers)
    assert len(calls) == 1


@pytest.mark.parametrize("flip", [False, True])
def test_every_method_is_the_fusion_of_its_maps(images, flip, few_steps):
    views = Views(together().trace(images), flip, [1.0])
    for name, one in single_pass().items():
        if one.needs_linear_head:
            with pytest.raises(ConfigurationError, match=name):
                get_explainer(name, has_linear_head=False)
            continue
        found = views.explain(one.function, TARGET, one.fuse)
        maps = [Views(alone(at).trace(images), flip, [1.0]).explain(one.function, TARGET) for at in sorted(NAMES)]
        torch.testing.assert_close(found, one.fuse(maps), rtol=1e-3, atol=1e-4, msg=name)
        assert found.shape[1:] == (16, 16) or "augmented" in name


def test_a_trace_is_cut_down_to_some_of_its_layers(images):
    cut = CutNetwork(seeded(GapLinear).requires_grad_(False), ["features", "features.0", "features.1"], 32)
    assert cut.names == ["features.0", "features.1", "features"] and cut.head is None
    trace = cut.trace(images)
    assert trace.at(None) is trace and trace.at(["features", "features.0", "features.1"]) is trace
    assert trace.head is None
    with pytest.raises(ValueError, match="cut at 3 layers"):
        _ = trace.activations
    last = trace.at(["features"])
    assert last is trace.layers[2] and last.head is cut.module.fc and last.network.names == ["features"]
    two = trace.at(["features", "features.0"])
    assert two.head is None and two.network.names == ["features.0", "features"]
    assert [one.activations for one in two.layers] == [trace.maps[0], trace.maps[2]]
    again = last.network.trace(images)  # at that layer alone, with the hooks that are there
    torch.testing.assert_close(again.activations, last.activations)
    assert again.activations.is_leaf and not last.activations.is_leaf
    assert all(len(part._forward_hooks) < 2 for part in cut.module.modules())


@pytest.mark.parametrize("names", [["features.2"], ["features.2", "features.0"]])
def test_a_trace_is_gone_when_nobody_holds_it(images, names):
    """At once, not when circles are looked for: it holds the graph of a batch."""
    trace = CutNetwork(seeded(FlattenHead).requires_grad_(False), names, 32).trace(images)
    seen = Views(trace, True, [1.0], TARGET[:, None])
    seen.explain(get_explainer("gradcam", False).function, TARGET)
    found = weakref.ref(trace), weakref.ref(trace.maps[0])
    gc.disable()
    try:
        del trace, seen
        assert [one() for one in found] == [None, None]
    finally:
        gc.enable()


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
