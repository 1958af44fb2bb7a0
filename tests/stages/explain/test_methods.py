"""Maps against brute force, in float64."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch.nn import functional as F

from stages.classify.probe import gap_linear_head
from stages.errors import ConfigurationError
from stages.explain.registry import explainer, explainers, get_explainer
from stages.explain.trace import Trace
from tests.stages.toys import CLASSES, FlattenHead, GapLinear, seeded


def cut(module, layer, images, head=None):
    """One forward pass as the classify stage makes it."""
    module.requires_grad_(False)
    caught = {}

    def hook(_module, _inputs, output):
        caught["leaf"] = output.detach().requires_grad_()
        return caught["leaf"].clone()

    handle = layer.register_forward_hook(hook)
    logits = module(images)
    handle.remove()
    return Trace(caught["leaf"], logits, head)


@pytest.fixture
def images():
    return torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def brute_force_gradcam(module, layer, image, target):
    """Selvaraju et al., eq. 1 and 2, for one image with the whole graph kept."""
    module.requires_grad_(True)
    caught = {}
    handle = layer.register_forward_hook(lambda _m, _i, output: caught.update(maps=output))
    score = module(image[None])[0, target]
    handle.remove()
    gradient = torch.autograd.grad(score, caught["maps"])[0][0]
    maps = caught["maps"].detach()[0]
    out = torch.zeros(maps.shape[1:], dtype=maps.dtype)
    for channel in range(len(maps)):
        out += gradient[channel].mean() * maps[channel]
    return out


def test_cam_is_the_weighted_sum_of_the_maps_and_averages_to_the_logit(images):
    module = seeded(GapLinear).double()
    trace = cut(module, module.features, images, module.fc)
    target = torch.tensor([0, 3, 6, 1, 1])
    maps = get_explainer("cam", True).function(trace, target)
    assert maps.shape == (5, 8, 8)
    for image, label in enumerate(target):
        by_hand = sum(module.fc.weight[label, k] * trace.activations[image, k] for k in range(12))
        torch.testing.assert_close(maps[image], by_hand)
    # Zhou et al., section 2: S_c is the mean of M_c, plus the bias that the paper ignores.
    torch.testing.assert_close(maps.mean((1, 2)) + module.fc.bias[target], trace.logits[torch.arange(5), target])


@pytest.mark.parametrize(("factory", "layer"), [(GapLinear, "features"), (FlattenHead, "features.2")])
def test_gradcam_equals_one_backward_pass_per_image(images, factory, layer):
    module = seeded(factory).double()
    part = module.get_submodule(layer)
    target = torch.tensor([2, 5, 0, 6, 3])
    maps = get_explainer("gradcam", False).function(cut(module, part, images), target)
    for image in range(len(images)):
        torch.testing.assert_close(
            maps[image].detach(), brute_force_gradcam(module, part, images[image], target[image])
        )


def test_closed_form_gradients_equal_autograd(images):
    module = seeded(GapLinear).double()
    target = torch.arange(5) % CLASSES
    closed = cut(module, module.features, images, module.fc).gradients(target)
    automatic = cut(module, module.features, images).gradients(target)
    torch.testing.assert_close(closed, automatic)


def test_an_inplace_activation_after_the_layer_does_not_disturb_the_cut(images):
    module = seeded(FlattenHead).double()
    target = torch.zeros(5, dtype=torch.long)
    before_relu = module.features[1]
    maps = get_explainer("gradcam", False).function(cut(module, before_relu, images), target)
    module.features[2] = torch.nn.ReLU(inplace=False)  # Brute force needs the values that the layer gave.
    expected = brute_force_gradcam(module, before_relu, images[0], 0)
    torch.testing.assert_close(maps[0].detach(), expected)


def test_a_map_does_not_depend_on_the_other_images_of_its_batch(images):
    module = seeded(FlattenHead).double()
    target = torch.tensor([2, 5, 0, 6, 3])
    method = get_explainer("gradcam", False).function
    together = method(cut(module, module.features[2], images), target)
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(method(cut(module, module.features[2], images[order]), target[order]), together[order])
    torch.testing.assert_close(method(cut(module, module.features[2], images[:1]), target[:1]), together[:1])


def test_nothing_survives_a_call(images):
    module = seeded(FlattenHead).double()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace = cut(module, module.features[2], images)
    maps = get_explainer("gradcam", False).function(trace, torch.zeros(5, dtype=torch.long)).detach()
    leaf = weakref.ref(trace.activations)
    del trace
    gc.collect()
    assert maps.isfinite().all() and leaf() is None
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


def test_the_head_is_found_by_trying():
    gap, flat = seeded(GapLinear), seeded(FlattenHead)
    assert gap_linear_head(gap, gap.features, 32) is gap.fc
    assert gap_linear_head(gap, gap.features[1], 32) is None  # 8 channels, not the 12 of the head
    assert gap_linear_head(flat, flat.features[2], 32) is None

    class Squared(GapLinear):
        def forward(self, x):
            return self.fc(F.relu(self.features(x)).square().mean((2, 3)))

    squared = seeded(Squared)
    assert gap_linear_head(squared, squared.features, 32) is None  # looks the same, is not


def test_names():
    assert {"cam", "gradcam"} <= set(explainers())
    with pytest.raises(ConfigurationError, match=r"did you mean gradcam\?"):
        get_explainer("gradcan", True)
    with pytest.raises(ConfigurationError, match="cam needs a network that ends in GAP"):
        get_explainer("cam", False)
    with pytest.raises(ValueError, match="two explainers are called cam"):
        explainer("cam", formula="", source="")(lambda trace, target: None)
