"""The same raw maps as captum: gradients, and ablation of whole channels as it does it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.peers.networks import TARGET, Case

attr = pytest.importorskip("captum.attr", reason="captum is not installed: see the extra `peers`")


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-3, atol=1e-5 * float(theirs.detach().abs().max()))


def test_gradcam(network: Case):
    theirs = attr.LayerGradCam(network.module, network.explained).attribute(network.images, TARGET)
    assert_same(network.maps("gradcam"), theirs[:, 0])


def test_hirescam_is_gradient_times_activation(network: Case):
    theirs = attr.LayerGradientXActivation(network.module, network.explained).attribute(network.images, TARGET)
    assert_same(network.maps("hirescam"), theirs.sum(1))


def test_ablationcam_from_ablated_channels(network: Case):
    activations = network.trace.activations.detach()
    channels = torch.arange(activations.shape[1])[None, :, None, None]
    with torch.no_grad():
        drops = attr.FeatureAblation(network.head).attribute(
            activations,
            target=TARGET,
            feature_mask=channels.expand(1, *activations.shape[1:]),
            perturbations_per_eval=64,
        )
        scores = network.head(activations).gather(1, TARGET[:, None])
    theirs = torch.einsum("nk,nkhw->nhw", drops[:, :, 0, 0] / scores, activations)
    assert_same(network.maps("ablationcam"), theirs)


def test_liftcam_is_deeplift_of_the_head(network: Case):
    if network.cut.head is not None:
        pytest.skip("GAP + linear: the exact Shapley value, tested against all subsets")
    activations = network.trace.activations.detach()
    found = attr.DeepLift(Head(network.module)).attribute(activations, torch.zeros_like(activations), target=TARGET)
    theirs = torch.einsum("nk,nkhw->nhw", found.sum((2, 3)), activations)
    assert_same(network.maps("liftcam"), theirs)


class Head(nn.Module):
    """VGG's, every ReLU a module of its own that works on a copy, as captum's hooks need them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        classifier = [nn.ReLU() if isinstance(part, nn.ReLU) else part for part in module.classifier]
        self.parts = nn.Sequential(module.features[20], module.avgpool, nn.Flatten(), *classifier)

    def forward(self, maps: Tensor) -> Tensor:
        return self.parts(maps)
