"""Where maps of other libraries differ from this project's, and why; a test for every row.

As of pytorch-grad-cam 1.5.7, torch-cam 0.5.0 and captum 0.9.0.

| Library          | Method         | There                                             | Here                         |
|------------------|----------------|---------------------------------------------------|------------------------------|
| pytorch-grad-cam | all            | minmax, upsampled, minmax: the scale is lost      | raw maps                     |
| pytorch-grad-cam | Grad-CAM++     | 1e-6 in the denominator, which swamps g^2         | divided by g^2: none needed  |
| pytorch-grad-cam | Score-CAM      | masks upsampled with aligned corners              | with half pixels             |
| pytorch-grad-cam | Eigen-CAM      | the sign that the decomposition happens to have   | agrees with mean activation  |
| pytorch-grad-cam | Ablation-CAM   | where activations are negative, a channel is set  | a channel is set to zero     |
|                  |                | to their minimum - 10,000,000, the next one lower |                              |
| pytorch-grad-cam | Finer-CAM      | y_c - sum p_d y_d / sum p_d, gradients through p  | y_c - 0.6 mean y_d           |
| pytorch-grad-cam | FullGrad       | minmax of every channel by itself                 | of all channels of a layer   |
| torch-cam        | Grad-CAM++     | the division works on a copy and is lost: weights | eq. 19                       |
|                  |                | are sum g^2 ReLU(g)                               |                              |
| torch-cam        | Smooth         | the last noisy copy's positive gradients, on the  | mean gradients, on the       |
|                  | Grad-CAM++     | last noisy copy's activations                     | image's own activations      |
| torch-cam        | Score-CAM      | minmax, then upsampled: masks do not reach 0 to 1 | upsampled, then minmax       |
| both             | Score-CAM      | a silent channel has a share of the softmax       | none: a factor of the map    |

captum's LayerGradCam, LayerGradientXActivation and FeatureAblation differ in nothing that was compared.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.explain.registry import get_explainer
from tests.peers.networks import TARGET, Case, case, noise
from tests.stages.toys import CLASSES, GapLinear, seeded

pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is not installed: see the extra `peers`")
pytest.importorskip("torchcam", reason="torch-cam is not installed: see the extra `peers`")

from tests.peers import grad_cam, test_torch_cam

FAR = 1e-2
"""What differs more than this, of maps between 0 and 1, differs."""


class Smooth(nn.Module):
    """GAP + linear behind an activation that can be negative, as EfficientNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 10, 3, 4, 1), nn.SiLU())
        self.fc = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def toy(factory: type[nn.Module]) -> Case:
    module = seeded(factory)
    return case(module, "features", noise(32), lambda maps: module.fc(maps.mean((2, 3))))


def scaled(maps: Tensor) -> Tensor:
    """Positive part over its maximum."""
    return maps.relu() / maps.amax((1, 2), keepdim=True)


def test_pytorch_grad_cam_loses_the_scale():
    weak = toy(GapLinear)
    strong = copy.deepcopy(weak.module)
    with torch.no_grad():
        strong.fc.weight.mul_(3)
        strong.fc.bias.mul_(3)
    loud = case(strong, "features", weak.images, lambda maps: strong.fc(maps.mean((2, 3))))
    np.testing.assert_allclose(grad_cam.explain(weak, "GradCAM"), grad_cam.explain(loud, "GradCAM"), atol=1e-4)
    torch.testing.assert_close(loud.maps("gradcam"), 3 * weak.maps("gradcam"))


def test_pytorch_grad_cams_gradcam_plus_plus_has_an_epsilon_larger_than_the_squared_gradients(network: Case):
    g, a = network.trace.gradients(TARGET), network.trace.activations.detach()

    def formula(epsilon: float) -> Tensor:
        denominator = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3 + epsilon
        alpha = (g != 0) * g**2 / denominator.where(denominator != 0, 1)
        return torch.einsum("nk,nkhw->nhw", (alpha * g.relu()).sum((2, 3)), a)

    theirs = grad_cam.explain(network, "GradCAMPlusPlus")
    np.testing.assert_allclose(grad_cam.displayed(formula(1e-6), network), theirs, atol=1e-3)
    torch.testing.assert_close(scaled(network.maps("gradcam++")), scaled(formula(0)), atol=1e-3, rtol=1e-3)
    if (g**2).median() < 1e-6:
        assert np.abs(grad_cam.displayed(network.maps("gradcam++"), network) - theirs).max() > FAR


def test_torch_cams_gradcam_plus_plus_never_divides(network: Case):
    g, a = network.trace.gradients(TARGET), network.trace.activations.detach()
    undivided = torch.einsum("nk,nkhw->nhw", (g**2 * g.relu()).sum((2, 3)), a)
    theirs = scaled(test_torch_cam.explain(network, "GradCAMpp"))
    torch.testing.assert_close(scaled(undivided), theirs, atol=1e-3, rtol=1e-3)
    assert (scaled(network.maps("gradcam++")) - theirs).abs().max() > FAR


def test_torch_cams_smooth_gradcam_plus_plus_looks_at_the_last_copy_alone(network: Case):
    torch.manual_seed(3)
    copies = [network.images + torch.distributions.Normal(0, 0.3).sample(network.images.shape) for _ in range(4)]
    traces = [network.cut.trace(one) for one in copies]
    gradients = torch.stack([one.gradients(TARGET) for one in traces])
    clean, noisy = network.trace.activations.detach(), traces[-1].activations.detach()
    second, third = (gradients**2).mean(0), (gradients**3).mean(0)
    # Also the sum of A g^3, which is sum A g^3 of the paper only where g is the same everywhere.
    alpha = second / (2 * second + (third * clean).sum((2, 3), keepdim=True) + 1e-8)

    def formula(gradient: Tensor, activations: Tensor) -> Tensor:
        return scaled(torch.einsum("nk,nkhw->nhw", (alpha * gradient.relu()).sum((2, 3)), activations))

    torch.manual_seed(3)
    theirs = scaled(test_torch_cam.explain(network, "SmoothGradCAMpp"))
    torch.testing.assert_close(formula(gradients[-1], noisy), theirs, atol=1e-3, rtol=1e-3)
    assert (formula(gradients[-1], clean) - theirs).abs().max() > FAR
    if network.cut.head is None:  # elsewhere all copies have the same gradient
        assert (formula(gradients.mean(0), noisy) - theirs).abs().max() > 1e-3


def coarse(seed: int) -> Case:
    """A toy whose cells are large and whose logits are far apart, so that masks and their weights matter."""
    module = seeded(Coarse, seed)
    return case(module, "features", noise(32), lambda maps: module.fc(maps.mean((2, 3))))


class Coarse(GapLinear):
    """Cells of 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 12, 8, 8), nn.ReLU())
        with torch.no_grad():
            self.fc.weight.mul_(30)


def minmax(maps: Tensor, epsilon: float = 1e-8) -> Tensor:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + epsilon)


def enlarged(maps: Tensor, network: Case, aligned: bool = False) -> Tensor:
    return F.interpolate(maps, network.images.shape[2:], mode="bilinear", align_corners=aligned)


def seen_through(masks: Tensor, network: Case) -> Tensor:
    """Score-CAM with these masks (2, K, S, S), every one with its share of the softmax."""
    scores = [network.cut.logits(network.images * mask[:, None])[range(2), TARGET] for mask in masks.unbind(1)]
    return torch.einsum("nk,nkhw->nhw", torch.stack(scores, 1).softmax(1), network.trace.activations.detach())


def test_pytorch_grad_cams_scorecam_aligns_corners():
    network = coarse(0)
    a = network.trace.activations.detach()
    theirs = grad_cam.explain(network, "ScoreCAM")
    aligned = seen_through(minmax(enlarged(a, network, aligned=True)), network)
    np.testing.assert_allclose(grad_cam.displayed(aligned, network), theirs, atol=1e-4)
    ours = network.maps("scorecam")
    torch.testing.assert_close(ours, seen_through(minmax(enlarged(a, network)), network), atol=1e-5, rtol=1e-4)
    assert np.abs(grad_cam.displayed(ours, network) - theirs).max() > FAR


def test_torch_cams_scorecam_upsamples_after_minmax():
    network = coarse(0)
    theirs = test_torch_cam.explain(network, "ScoreCAM")
    masks = enlarged(minmax(network.trace.activations.detach()), network)
    assert (masks.amax((2, 3)) < 1 - FAR).any()
    torch.testing.assert_close(seen_through(masks, network), theirs, atol=1e-5, rtol=1e-4)
    assert (scaled(network.maps("scorecam")) - scaled(theirs)).abs().max() > FAR


def test_pytorch_grad_cams_fullgrad_scales_every_channel_by_itself():
    from stages.explain.methods.fullgrad import contributions

    network = toy(GapLinear)
    theirs = grad_cam.explain(network, "FullGrad")
    ((_, of_input, of_biases),) = contributions(network.trace, network.images, TARGET[:, None])
    maps = [part.abs() for part in (of_input, *of_biases) if part.ndim == 4]
    one_by_one = sum(enlarged(minmax(part, 1e-7), network).sum(1) for part in maps)
    np.testing.assert_allclose(grad_cam.displayed(one_by_one, network), theirs, atol=1e-4)
    assert np.abs(grad_cam.displayed(network.maps("fullgrad"), network) - theirs).max() > FAR


def test_a_silent_channel_has_a_share_of_both_libraries_scorecam():
    network = toy(GapLinear)
    for module in (network.module, network.cut.module):
        module.features[2].weight.data[4:] = 0
        module.features[2].bias.data[4:] = -1
    quiet = case(network.module, "features", network.images, network.head)
    assert (quiet.trace.activations[:, 4:] == 0).all() and (quiet.trace.activations[:, :4].amax((2, 3)) > 0).all()
    ours, theirs = quiet.maps("scorecam"), test_torch_cam.explain(quiet, "ScoreCAM")
    torch.testing.assert_close(seen_through(enlarged(minmax(quiet.trace.activations.detach()), quiet), quiet), theirs)
    assert (theirs.amax((1, 2)) < 0.5 * ours.amax((1, 2))).all()  # eight of twelve channels say nothing


def test_pytorch_grad_cams_eigencam_has_either_sign():
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    module = seeded(GapLinear)
    images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    many = case(module, "features", images, lambda maps: module.fc(maps.mean((2, 3))))
    a = many.trace.activations.detach()
    ours, theirs = many.maps("eigencam"), torch.from_numpy(get_2d_projection(a.numpy()))
    torch.testing.assert_close(ours.abs(), theirs.abs(), atol=1e-3, rtol=1e-2)
    signs = (ours * theirs).sum((1, 2)).sign()
    assert {-1.0, 1.0} == set(signs.tolist())
    centred = a.mean(1) - a.mean((1, 2, 3))[:, None, None]
    assert ((ours * centred).sum((1, 2)) > 0).all()


def test_pytorch_grad_cams_ablationcam_ablates_negative_activations_to_minus_millions():
    network = toy(Smooth)
    a = network.trace.activations.detach()
    assert a.min() < 0
    scores = network.head(a).detach()[range(2), TARGET]
    lowest, zeroed = torch.zeros(2, a.shape[1]), torch.zeros(2, a.shape[1])
    for row, c in enumerate(TARGET):
        floor = a[row].min()
        for k in range(a.shape[1]):
            floor = floor - 1e7  # the minimum of a batch in which the channels before are ablated
            for value, weights in ((floor, lowest), (0.0, zeroed)):
                ablated = a[row].clone()
                ablated[k] = value
                weights[row, k] = (scores[row] - network.head(ablated[None]).detach()[0, c]) / scores[row]
    theirs = grad_cam.explain(network, "AblationCAM")
    there, here = (torch.einsum("nk,nkhw->nhw", weights, a) for weights in (lowest, zeroed))
    np.testing.assert_allclose(grad_cam.displayed(there, network), theirs, atol=1e-3)
    torch.testing.assert_close(network.maps("ablationcam"), here, atol=1e-4, rtol=1e-3)
    assert np.abs(grad_cam.displayed(here, network) - theirs).max() > FAR


def test_pytorch_grad_cams_finercam_weighs_references_by_their_probabilities(network: Case):
    from pytorch_grad_cam import FinerCAM

    with FinerCAM(network.module, [network.explained]) as method:
        theirs = method(network.images)  # of the best class: another cannot be asked for each image
    network.module.zero_grad()
    best = network.trace.logits.detach().argmax(1)
    logits = network.trace.logits
    top = logits.gather(1, best[:, None])
    nearest = (logits - top).abs().detach().argsort(1)[:, 1:4]
    probs = logits.softmax(1).gather(1, nearest)
    score = (probs * (top - logits.gather(1, nearest))).sum(1) / probs.sum(1)
    weights = network.trace.gradients_of(score).mean((2, 3))
    weighted = torch.einsum("nk,nkhw->nhw", weights, network.trace.activations.detach())
    np.testing.assert_allclose(grad_cam.displayed(weighted, network), theirs, atol=1e-3)
    ours = get_explainer("finercam", network.cut.head is not None).function(network.trace, best).detach()
    assert np.abs(grad_cam.displayed(ours, network) - theirs).max() > FAR
