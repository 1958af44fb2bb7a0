"""One computation for all classes of a batch gives what one for each class gives, and asks the network less often."""

from __future__ import annotations

import weakref

import pytest
import torch

from stages.explain import masking
from stages.explain.registry import get_explainer
from stages.trace.cut import CutNetwork
from stages.trace.views import Views
from tests.stages.toys import FlattenHead, GapLinear, seeded
from tests.stages.trace.test_heads import vit

TARGETS = torch.tensor([[2, 0, 5], [6, 6, 1]])
SHARING = {
    "scorecam": (2, 6),
    "smooth-gradcam++": (2, 6),
    "augmented-gradcam": (3, 9),
    "augmented-gradcam-authors": (3, 9),
    "fullgrad": (1, 3),
}
"""Method to its passes for three classes together, and one by one. Score-CAM makes one for each image."""


@pytest.fixture(params=[(GapLinear, "features"), (FlattenHead, "features.2")], ids=["gap", "flatten"])
def cut(request):
    factory, layer = request.param
    module = seeded(factory).requires_grad_(False)
    made = CutNetwork(module, [layer], 32)
    made.passes = []
    module.register_forward_pre_hook(lambda *_: made.passes.append(1))
    return made


@pytest.mark.parametrize("name", SHARING)
def test_all_classes_at_once(cut, name, few_steps, monkeypatch):
    monkeypatch.setattr(masking, "CHUNK", {"cpu": 1000})
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    method = get_explainer(name, cut.head is not None).function
    alone, together = cut.trace(images), cut.trace(images, TARGETS)
    cut.passes.clear()
    expected = [method(alone, target).detach() for target in TARGETS.unbind(1)]
    assert len(cut.passes) == SHARING[name][1]
    cut.passes.clear()
    for target, maps in zip(TARGETS.unbind(1), expected, strict=True):
        torch.testing.assert_close(method(together, target).detach(), maps)
    assert len(cut.passes) == SHARING[name][0]
    other = torch.tensor([3, 3])  # not among those that were announced
    torch.testing.assert_close(method(together, other).detach(), method(alone, other).detach())


BEHIND = {"ablationcam": 2, "reciprocam": 2, "liftcam": 2, "groupcam": 1 + 3 * 6}
"""Method to its passes through FlattenHead for three classes: one for each image, or one for each mask."""


@pytest.mark.parametrize("name", BEHIND)
def test_heads_are_asked_about_all_classes_at_once(name):
    module = seeded(FlattenHead).requires_grad_(False)
    cut = CutNetwork(module, ["features.2"], 32)
    passes = []
    module.register_forward_pre_hook(lambda *_: passes.append(1))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    method = get_explainer(name, False).function
    alone, together = cut.trace(images), cut.trace(images, TARGETS)
    expected = [method(alone, target).detach() for target in TARGETS.unbind(1)]
    passes.clear()
    for target, maps in zip(TARGETS.unbind(1), expected, strict=True):
        torch.testing.assert_close(method(together, target).detach(), maps)
    assert len(passes) == BEHIND[name]


def test_attention_is_run_again_once_for_all_classes():
    """Its fused kernel has no second derivative, so ShapleyCAM makes a pass with the plain one."""
    module = seeded(vit).requires_grad_(False)
    cut = CutNetwork(module, ["encoder.layers.encoder_layer_1.ln_1"], 32)
    passes = []
    module.register_forward_pre_hook(lambda *_: passes.append(1))
    targets = torch.tensor([[0, 1, 2], [3, 4, 0]])
    trace = cut.trace(torch.randn(2, 3, 32, 32), targets)
    passes.clear()
    maps = [get_explainer("shapleycam", False).function(trace, target) for target in targets.unbind(1)]
    assert len(passes) == 1 and all(one.any() for one in maps)


GRADIENTS = ["gradcam", "gradcam++", "sharpen-focus", "xgradcam", "hirescam", "layercam", "bagcam"]


@pytest.mark.parametrize("layers", [["features.2"], ["features.0", "features.2"]])
def test_one_backward_pass_a_class_serves_all_methods_and_layers(layers, monkeypatch):
    """In the stage's order: every target of a method before the next method, each time a new tensor."""
    trace = CutNetwork(seeded(FlattenHead).requires_grad_(False), layers, 32).trace(torch.randn(2, 3, 32, 32))
    targets = torch.tensor([[0, 1, 2, 3, 4, 5], [6, 6, 1, 0, 2, 3]])
    views = Views(trace, False, [1.0], targets)
    calls, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **named: calls.append(1) or grad(*args, **named))
    found = {
        name: [views.explain(get_explainer(name, False).function, t) for t in targets.unbind(1)] for name in GRADIENTS
    }
    assert len(calls) == 6
    one = views.explain(get_explainer("gradcam", False).function, targets[:, 4].clone())
    assert torch.equal(one, found["gradcam"][4]) and len(calls) == 6
    assert not torch.equal(found["gradcam"][3], found["gradcam"][4])


def test_gradients_of_classes_that_nobody_announced_do_not_pile_up():
    trace = CutNetwork(seeded(FlattenHead).requires_grad_(False), ["features.2"], 32).trace(torch.randn(2, 3, 32, 32))
    first = weakref.ref(trace.gradients(TARGETS[:, 0]))
    assert first() is not None
    trace.gradients(TARGETS[:, 1])
    assert first() is None


def test_methods_share_what_they_have_in_common(cut, few_steps):
    images = torch.randn(2, 3, 32, 32)
    for pair in (("scorecam", "scorecam-lecture"), ("augmented-gradcam", "weighted-augmented-gradcam")):
        trace = cut.trace(images, TARGETS)
        get_explainer(pair[0], True).function(trace, TARGETS[:, 0])
        cut.passes.clear()
        get_explainer(pair[1], True).function(trace, TARGETS[:, 1])
        assert not cut.passes
