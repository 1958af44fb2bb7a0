"""The operator D A against loops and its adjoint; the solver against its own functional and a known shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from stages.explain.methods import augmented
from stages.explain.registry import get_explainer
from tests.stages.explain.brute_force import TARGET, network

CELLS = 5


@pytest.fixture
def transforms():
    return augmented.transformations(torch.zeros(1, dtype=torch.float64))


def test_the_first_copy_is_the_image_itself_and_the_others_stay_in_their_bounds(transforms):
    assert transforms.shape == (augmented.COPIES, 2, 3)
    torch.testing.assert_close(transforms[0], torch.eye(2, 3, dtype=torch.float64))
    angle = torch.atan2(transforms[1:, 1, 0], transforms[1:, 0, 0])
    assert angle.abs().max() <= 0.5 and angle.std() > 0.1
    assert transforms[:, :, 2].abs().max() <= 30 / 112
    torch.testing.assert_close(
        torch.linalg.det(transforms[:, :, :2]), torch.ones(augmented.COPIES, dtype=torch.float64)
    )


def test_observing_is_averaging_points_of_the_turned_image(transforms):
    """Cell by cell and point by point, interpolated by another library."""
    side = 16
    h = torch.rand(1, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = augmented.observe(h, augmented.sample_points(transforms, CELLS, CELLS)).view(augmented.COPIES, CELLS, CELLS)
    # Beyond its edge the image fades to 0 within half a pixel, as zero padding interpolates it.
    padded = np.pad(h[0, 0].numpy(), 1)
    for copy in (0, 3, 9):
        turn, shift = transforms[copy, :, :2].numpy(), transforms[copy, :, 2].numpy()
        for row, column in ((0, 0), (2, 3), (4, 1)):
            values = []
            for dy in (0.25, 0.75):
                for dx in (0.25, 0.75):
                    in_copy = np.array([2 * (column + dx) / CELLS - 1, 2 * (row + dy) / CELLS - 1])
                    x, y = (turn @ in_copy + shift + 1) / 2 * side - 0.5
                    values.append(map_coordinates(padded, [[y + 1], [x + 1]], order=1, mode="constant")[0])
            assert found[copy, row, column].item() == pytest.approx(np.mean(values), abs=1e-12)


def test_the_adjoint_passes_the_dot_product_test(transforms):
    generator = torch.Generator().manual_seed(1)
    points = augmented.sample_points(transforms, CELLS, CELLS)
    h = torch.randn(2, 1, 12, 12, dtype=torch.float64, generator=generator, requires_grad=True)
    g = torch.randn(2, augmented.COPIES, CELLS**2, dtype=torch.float64, generator=generator)
    observed = augmented.observe(h, points)
    (back,) = torch.autograd.grad((observed * g).sum(), h)
    torch.testing.assert_close((observed * g).sum(), (h * back).sum())


def test_a_known_shape_is_seen_more_sharply_than_by_upsampling(transforms, monkeypatch):
    """An ellipse, observed by cells of 1/7 of the frame with noise, thresholded at half."""
    side = augmented.SIDE
    y, x = (torch.stack(torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij")) + 0.5) / side
    truth = (((x - 0.55) / 0.3) ** 2 + ((y - 0.45) / 0.18) ** 2 < 1).double()[None, None]
    points = augmented.sample_points(transforms, 7, 7)
    noise = 0.02 * torch.randn(1, augmented.COPIES, 49, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    maps = (augmented.observe(truth, points) + noise).view(1, -1, 7, 7)
    solved = augmented.super_resolve(maps, torch.ones(1, augmented.COPIES, dtype=torch.float64), transforms)
    single = torch.nn.functional.interpolate(maps[:, :1], (side, side), mode="bilinear")[:, 0]

    def overlap(values):
        mask, solid = values[0] > values.max() / 2, truth[0, 0] > 0
        return ((mask & solid).sum() / (mask | solid).sum()).item()

    assert solved.min() >= 0
    assert overlap(solved) > overlap(single) + 0.02 and overlap(solved) > 0.85


def test_what_a_copy_does_not_see_is_not_held_against_it(transforms):
    """A map that is 1 everywhere is seen as 1 by every copy, wherever it looks: the solution is flat.

    Its level is below 1, because the functional's last term charges for every pixel.
    """
    ones = torch.ones(1, augmented.COPIES, 7, 7, dtype=torch.float64)
    solved = augmented.super_resolve(ones, torch.ones(1, augmented.COPIES, dtype=torch.float64), transforms)
    inner = solved[0, 8:-8, 8:-8]
    assert inner.std() < 0.05 * inner.mean() and 0.8 < inner.mean() < 1


def test_weights_silence_a_copy_that_lies(transforms):
    maps = torch.zeros(1, augmented.COPIES, 7, 7, dtype=torch.float64)
    maps[:, :, 3, 3] = 1
    lying = maps.clone()
    lying[:, 5] = 1
    weights = torch.full((1, augmented.COPIES), augmented.COPIES / (augmented.COPIES - 1), dtype=torch.float64)
    weights[:, 5] = 0
    honest = augmented.super_resolve(maps, weights, transforms)
    start = augmented.registered_average(lying, transforms)
    assert (start - augmented.registered_average(maps, transforms)).abs().max() > 0.05
    assert (augmented.super_resolve(lying, weights, transforms) - honest).abs().mean() < 0.02


def test_smooth_gradcam_without_noise_is_gradcam_plus_plus(monkeypatch):
    from stages.explain.methods import smooth

    monkeypatch.setattr(smooth, "NOISE", 0.0)
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for head in ("gap", "flatten"):
        cut = network(head)
        trace = cut.trace(images)
        smoothed = get_explainer("smooth-gradcam++", cut.head is not None).function(trace, TARGET)
        exact = get_explainer("gradcam++", cut.head is not None).function(trace, TARGET)
        torch.testing.assert_close(smoothed, exact)


def test_noise_changes_the_derivatives_where_the_head_is_not_linear():
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    trace = network("flatten").trace(images)
    smoothed = get_explainer("smooth-gradcam++", False).function(trace, TARGET)
    assert not torch.allclose(smoothed, get_explainer("gradcam++", False).function(trace, TARGET), rtol=1e-3)


def test_groupcam_is_its_formula(monkeypatch):
    """The map that is stored, upsampled, is the authors' sum of upsampled masks."""
    from torchvision.transforms.v2.functional import gaussian_blur

    from stages.explain.methods import group
    from tests.stages.explain.brute_force import Whole

    monkeypatch.setattr(group, "GROUPS", 5)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cut = network("gap")
    found = get_explainer("groupcam", True).function(cut.trace(images), TARGET[:2])
    for row, c in enumerate(TARGET[:2].tolist()):
        whole = Whole("gap", images[row])
        gradient, maps = whole.gradient(whole.logits[c]), whole.maps[0].detach()
        blurred = gaussian_blur(images[row], [51, 51], [50.0, 50.0])
        nothing = whole.logits_of_image(blurred).softmax(0)[c]
        expected = torch.zeros_like(images[0, :1])
        for channels in ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9), (10, 11)):
            mask = sum(gradient[k].mean() * maps[k] for k in channels).relu()
            mask = torch.where(mask >= torch.quantile(mask, 0.7), mask, 0)
            large = torch.nn.functional.interpolate(mask[None, None], (64, 64), mode="bilinear")[0]
            if mask.max() > mask.min():
                large = (large - large.min()) / (large.max() - large.min())
            gain = whole.logits_of_image(images[row] * large + blurred * (1 - large)).softmax(0)[c] - nothing
            expected += gain * large
        shown = torch.nn.functional.interpolate(found[row][None, None], (64, 64), mode="bilinear")[0]
        torch.testing.assert_close(shown, expected)
        assert expected.max() > 0


def test_weighted_residuals_are_the_shares_of_the_posterior(few_steps):
    """The weights of a copy: p_c there over the mean of p_c over all copies, from copies traced one by one."""
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cut = network("gap")
    found = get_explainer("weighted-augmented-gradcam", True).function(cut.trace(images), TARGET)
    matrices = augmented.transformations(images)
    for row, c in enumerate(TARGET.tolist()):
        maps, probs = [], []
        for one in matrices:
            grid = torch.nn.functional.affine_grid(one[None], [1, 3, 32, 32], align_corners=False)
            copy = torch.nn.functional.grid_sample(
                images[row : row + 1], grid, padding_mode="reflection", align_corners=False
            )
            trace = cut.trace(copy)
            heat = get_explainer("gradcam", True).function(trace, TARGET[row : row + 1])[0].detach().clamp(min=0)
            maps.append(heat / heat.max() if heat.max() > 0 else heat)
            probs.append(trace.logits.detach()[0].softmax(0)[c])
        weights = torch.stack(probs) / torch.stack(probs).mean()
        assert weights.sum().item() == pytest.approx(augmented.COPIES) and weights.std() > 0
        expected = augmented.super_resolve(torch.stack(maps)[None], weights[None], matrices)
        torch.testing.assert_close(found[row], expected[0])


@pytest.mark.parametrize("head", ["gap", "flatten"])
def test_smooth_gradcam_is_its_formula(head, few_steps):
    """Omeiza et al., noisy copy by noisy copy through the whole network, one image at a time."""
    from stages.explain.methods import smooth
    from tests.stages.explain.brute_force import Whole

    images = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cut = network(head)
    found = get_explainer("smooth-gradcam++", cut.head is not None).function(cut.trace(images), TARGET[:3])
    for row, c in enumerate(TARGET[:3].tolist()):
        generator = torch.Generator().manual_seed(0)
        derivatives = []
        for _ in range(smooth.COPIES):
            noise = torch.randn(3, 32, 32, generator=generator).double()
            noisy = images[row] + 0.15 * (images[row].max() - images[row].min()) * noise
            whole = Whole(head, noisy)
            derivatives.append(whole.gradient(whole.logits[c]))
        d1, d2, d3 = (sum(one**power for one in derivatives) / smooth.COPIES for power in (1, 2, 3))
        maps = Whole(head, images[row]).maps[0].detach()
        expected = torch.zeros_like(maps[0])
        for k in range(len(maps)):
            weight = 0.0
            for at in np.ndindex(*maps[k].shape):
                denominator = 2 * d2[k][at] + maps[k].sum() * d3[k][at]
                weight += (d2[k][at] / denominator if denominator != 0 else 0.0) * max(d1[k][at], 0)
            expected += weight * maps[k]
        torch.testing.assert_close(found[row].detach(), expected)
