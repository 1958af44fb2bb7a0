"""On a GAP + linear head most methods are a few closed forms; autograd through the whole network says so, too."""

from __future__ import annotations

import pytest
import torch

from stages.explain.registry import get_explainer, single_pass
from tests.stages.explain.brute_force import (
    TARGET,
    Whole,
    ablationcam,
    bagcam,
    finercam,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    network,
    reciprocam,
    sharpen_focus,
    xgradcam,
)

NAMED = {"cam", "positive-cam", "gradcam", "xgradcam", "hirescam", "sharpen-focus", "layercam", "bagcam"}


def test_equivalences_on_a_gap_linear_head(images):
    """One backward pass would only find the head's weights again: most methods are four closed forms.

    Both sides are autograd through the whole network, in loops, so a shortcut of the head is none here.
    """
    cut = network("gap")
    weight = cut.head.weight
    for row, image in enumerate(images):
        whole, c = Whole("gap", image), int(TARGET[row])
        a = whole.maps[0].detach()
        cam = sum(weight[c, k] * a[k] for k in range(len(a)))
        positive = sum(weight[c, k].clamp(min=0) * a[k] for k in range(len(a)))
        close = {"rtol": 1e-6, "atol": 1e-9}
        for method in (gradcam, xgradcam, hirescam):
            torch.testing.assert_close(method(whole, c).detach() * a[0].numel(), cam, **close)
        for method in (sharpen_focus, layercam):
            torch.testing.assert_close(method(whole, c).detach() * a[0].numel(), positive, **close)
        plus = sum(weight[c, k].clamp(min=0) / (2 + weight[c, k] * a[k].mean()) * a[k] for k in range(len(a)))
        torch.testing.assert_close(gradcam_plus_plus(whole, c).detach(), plus, **close)
        lift = sum(weight[c, k] * a[k].mean() * a[k] for k in range(len(a)))
        torch.testing.assert_close(ablationcam(whole, c).detach() * whole.logits[c].detach(), lift, **close)
        everything = torch.einsum("ck,khw->chw", weight, a) / a[0].numel() + cut.head.bias[:, None, None]
        shares = weight[c][:, None, None] * a / a[0].numel()
        bag = sum(((1 + shares[k].mean()) * shares[k]).clamp(min=0) for k in range(len(a)))
        torch.testing.assert_close(bagcam(whole, c).detach(), bag, **close)
        torch.testing.assert_close(reciprocam(whole, c).detach(), everything.softmax(0)[c], **close)
        distance = (whole.logits - whole.logits[c]).abs().detach()
        nearest = [d for d in distance.argsort().tolist() if d != c][:3]
        finer = weight[c] - 0.6 * weight[nearest].mean(0)
        torch.testing.assert_close(
            finercam(whole, c).detach() * a[0].numel(), torch.einsum("k,khw->hw", finer, a), **close
        )


@pytest.mark.parametrize("name", [name for name, one in single_pass().items() if one.same_as])
def test_a_declared_equal_is_its_formula_and_its_equal(images, name):
    """The table of equals says what the functions do, to the factor h w."""
    trace = network("gap").trace(images)
    one = get_explainer(name, True)
    other = get_explainer(one.same_as, True).function(trace, TARGET).detach()
    found = one.function(trace, TARGET).detach() * (trace.locations if one.per_cell else 1)
    torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-9)


def test_an_equal_stays_one_where_activations_are_negative(images):
    """A SiLU's outputs may be negative; the equals rest on the head alone. Elementwise sums after ReLU do not."""
    trace = network("gap").trace(images)
    with torch.no_grad():
        trace.activations.sub_(0.1)
    maps = {name: get_explainer(name, True).function(trace, TARGET).detach() for name in NAMED}
    for name in ("gradcam", "xgradcam", "hirescam"):
        torch.testing.assert_close(maps[name] * trace.locations, maps["cam"])
    for name in ("sharpen-focus", "layercam"):
        torch.testing.assert_close(maps[name] * trace.locations, maps["positive-cam"])
    assert not torch.allclose(maps["bagcam"] * trace.locations, maps["positive-cam"], rtol=0.1)


def test_closed_form_gradients_equal_autograd(images):
    cut = network("gap")
    trace = cut.trace(images)
    torch.testing.assert_close(trace.gradients(TARGET), trace.gradients_of(trace.score(TARGET)))
