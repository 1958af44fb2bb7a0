"""One computation for all classes of a batch gives what one for each class gives, and asks the network less often."""

from __future__ import annotations

import pytest
import torch

from stages.classify.cut import CutNetwork
from stages.explain.registry import get_explainer
from tests.stages.toys import FlattenHead, GapLinear, seeded

TARGETS = torch.tensor([[2, 0, 5], [6, 6, 1]])
SHARING = {
    "scorecam": (1, 3),
    "smooth-gradcam++": (2, 6),
    "augmented-gradcam": (3, 9),
    "augmented-gradcam-authors": (3, 9),
    "fullgrad": (1, 3),
}
"""Method to its passes through a network of FlattenHead's kind for three classes together, and one by one."""


@pytest.fixture(params=[(GapLinear, "features"), (FlattenHead, "features.2")], ids=["gap", "flatten"])
def cut(request):
    factory, layer = request.param
    module = seeded(factory).requires_grad_(False)
    made = CutNetwork(module, module.get_submodule(layer), layer, 32)
    made.passes = []
    module.register_forward_pre_hook(lambda *_: made.passes.append(1))
    return made


@pytest.mark.parametrize("name", SHARING)
def test_all_classes_at_once(cut, name, few_steps, monkeypatch):
    from stages.explain import scorecam

    monkeypatch.setattr(scorecam, "CHUNK", {"cpu": 1000})
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    method = get_explainer(name, cut.head is not None).function
    alone, together = cut.trace(images), cut.trace(images)
    together.asked = TARGETS
    cut.passes.clear()
    expected = [method(alone, target).detach() for target in TARGETS.unbind(1)]
    assert len(cut.passes) == SHARING[name][1]
    cut.passes.clear()
    for target, maps in zip(TARGETS.unbind(1), expected, strict=True):
        torch.testing.assert_close(method(together, target).detach(), maps)
    assert len(cut.passes) == SHARING[name][0]
    other = torch.tensor([3, 3])  # not among those that were announced
    torch.testing.assert_close(method(together, other).detach(), method(alone, other).detach())


def test_methods_share_what_they_have_in_common(cut, few_steps):
    images = torch.randn(2, 3, 32, 32)
    for pair in (("scorecam", "scorecam-lecture"), ("augmented-gradcam", "weighted-augmented-gradcam")):
        trace = cut.trace(images)
        trace.asked = TARGETS
        get_explainer(pair[0], True).function(trace, TARGETS[:, 0])
        cut.passes.clear()
        get_explainer(pair[1], True).function(trace, TARGETS[:, 1])
        assert not cut.passes
