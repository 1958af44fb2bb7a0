"""Mirrored and resized views against doing the same by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.config.recipe import resolve
from pipeline.engine.prepare import load_checked
from stages.classify.network import Network, Preprocess
from stages.errors import ConfigurationError
from stages.explain.registry import get_explainer
from stages.trace.cut import CutNetwork
from stages.trace.views import Views
from tests.stages.explain.brute_force import TARGET, network
from tests.stages.toys import CLASSES, seeded


def test_one_view_is_the_method_itself(images):
    trace, cam = network("gap").trace(images), get_explainer("cam", True).function
    torch.testing.assert_close(Views(trace, False, [1.0]).explain(cam, TARGET), cam(trace, TARGET).detach())


def test_the_mirrored_map_is_turned_back(images):
    cut, cam = network("gap"), get_explainer("cam", True).function
    found = Views(cut.trace(images), True, [1.0]).explain(cam, TARGET)
    by_hand = (cam(cut.trace(images), TARGET) + cam(cut.trace(images.flip(3)), TARGET).flip(2)) / 2
    torch.testing.assert_close(found, by_hand.detach())
    mirrored = Views(cut.trace(images.flip(3)), True, [1.0]).explain(cam, TARGET)
    torch.testing.assert_close(mirrored, found.flip(2))  # what flipping is for


def test_maps_of_other_sizes_come_back_to_the_grid(images):
    cut, cam = network("gap"), get_explainer("cam", True).function
    found = Views(cut.trace(images), False, [1.0, 1.5]).explain(cam, TARGET)
    large = F.interpolate(images, (48, 48), mode="bilinear", antialias=True)
    other = F.interpolate(cam(cut.trace(large), TARGET)[:, None], (8, 8), mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(found, (cam(cut.trace(images), TARGET) + other).detach() / 2)


def test_a_network_of_one_size_says_so(images):
    class OneSize(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 2, 3, 4), torch.nn.Linear(2 * 8 * 8, CLASSES)

        def forward(self, x):
            return self.fc(self.conv(x).flatten(1))

    module = seeded(OneSize).requires_grad_(False)
    cut = CutNetwork(module, ["conv"], 32)
    with pytest.raises(ConfigurationError, match=r"does not run at 64 pixels; leave the only scale at 1"):
        Views(cut.trace(images.float()), False, [1.0, 2.0])


class FixedSize(torch.nn.Module):
    """Refuses other sizes than 32 pixels, as a vision transformer does."""

    def __init__(self, refusal: Exception) -> None:
        super().__init__()
        self.conv, self.fc, self.refusal = torch.nn.Conv2d(3, 2, 3, 4), torch.nn.Linear(2, CLASSES), refusal

    def forward(self, x):
        if x.shape[3] != 32:
            raise self.refusal
        return self.fc(self.conv(x).mean((2, 3)))


def cut_of(refusal: Exception) -> CutNetwork:
    module = FixedSize(refusal).eval().requires_grad_(False)
    return CutNetwork(module, ["conv"], 32)


@pytest.mark.parametrize(
    "refusal", [AssertionError("Input height (48) doesn't match model (32)."), ValueError("window"), RuntimeError("1")]
)
def test_whatever_a_network_of_one_size_raises(images, refusal):
    trace = cut_of(refusal).trace(images.float())
    with pytest.raises(ConfigurationError, match="does not run at 48 pixels"):
        Views(trace, True, [1.0, 1.5])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_no_wrong_size(images, error):
    """The executor halves the batch where it sees this error, and this one alone."""
    trace = cut_of(error).trace(images.float())
    with pytest.raises(type(error)) as caught:
        Views(trace, False, [1.0, 2.0])
    assert caught.value is error


def test_an_error_at_the_networks_own_size_is_not_the_sizes(images, monkeypatch):
    cut = cut_of(ValueError())
    trace = cut.trace(images.float())
    monkeypatch.setattr(cut.module, "forward", lambda x: x.view(7))
    with pytest.raises(RuntimeError, match="shape"):
        Views(trace, True, [1.0])


@pytest.mark.parametrize("scales", [[1.0, 1.5], [1.5, 1.0]])
def test_maps_that_follow_the_views_size_come_back_to_the_first(images, scales):
    cut, fullgrad = network("gap"), get_explainer("fullgrad", True).function
    found = Views(cut.trace(images), False, scales).explain(fullgrad, TARGET)
    small = fullgrad(cut.trace(images), TARGET)
    large = fullgrad(cut.trace(F.interpolate(images, (48, 48), mode="bilinear", antialias=True)), TARGET)
    assert small.shape[1:] == (16, 16) and large.shape[1:] == (24, 24)
    maps = [small, large] if scales[0] == 1 else [large, small]
    other = F.interpolate(maps[1][:, None], maps[0].shape[1:], mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(found, (maps[0] + other) / 2)


def one_size() -> Network:
    """For ``python:tests.stages.trace.test_views:one_size``."""
    return Network(FixedSize(AssertionError("no")), preprocess=Preprocess(size=32))


def test_a_size_that_the_network_does_not_run_at_is_found_before_any_image(tiny):
    spec = "model.spec=python:tests.stages.trace.test_views:one_size"
    load_checked(resolve(tiny(spec, "explain.methods=[gradcam]", "explain.flip=true")))
    with pytest.raises(ConfigurationError, match=r"the network does not run at 48 pixels"):
        load_checked(resolve(tiny(spec, "explain.methods=[gradcam]", "explain.scales=[1,1.5]")))


def test_opticam_finds_a_mask_that_the_network_likes_better(images):
    cut = network("gap")
    trace = cut.trace(images)
    maps = get_explainer("opticam", True).function(trace, TARGET)

    def score(heat):
        large = F.interpolate(heat[:, None], images.shape[2:], mode="bilinear")
        low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
        return cut.logits(images * (large - low) / (high - low)).gather(1, TARGET[:, None])[:, 0]

    start = trace.activations.detach().mean(1)  # all channels alike, where the optimisation begins
    assert (score(maps) > score(start)).all()


def test_opticam_takes_adams_steps_up_the_masked_score(images, few_steps):
    """Kingma & Ba's algorithm 1 written out, its gradient by central differences, one image at a time."""
    from stages.explain.methods import opticam

    cut = network("gap")
    trace = cut.trace(images[:2])
    found = get_explainer("opticam", True).function(trace, TARGET[:2])
    for row in range(2):
        maps, image, c = trace.activations[row].detach(), images[row : row + 1], int(TARGET[row])

        def score(u, maps=maps, image=image, c=c):
            heat = torch.einsum("k,khw->hw", u.softmax(0), maps)
            large = F.interpolate(heat[None, None], (32, 32), mode="bilinear")
            return cut.logits(image * (large - large.min()) / (large.max() - large.min()))[0, c]

        u = torch.full((12,), 0.5, dtype=torch.float64)
        m, v = torch.zeros_like(u), torch.zeros_like(u)
        for step in range(1, opticam.ITERATIONS + 1):
            nudges = 1e-6 * torch.eye(12, dtype=torch.float64)
            gradient = -torch.stack([(score(u + one) - score(u - one)) / 2e-6 for one in nudges])
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            u = u - 0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        expected = torch.einsum("k,khw->hw", u.softmax(0), maps)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)
