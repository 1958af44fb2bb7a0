"""The released settings of Augmented Grad-CAM, step by step, against image operations written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from stages.explain.methods import augmented_authors as authors
from stages.explain.methods.augmented import maps_of_copies
from stages.explain.methods.gradcam import gradcam
from tests.stages.explain.brute_force import TARGET, network


@pytest.fixture
def transforms():
    return authors.transformations(torch.zeros(1, dtype=torch.float64))


def turned(image: np.ndarray, angle: float, right: float, down: float) -> np.ndarray:
    """A picture rotated about its centre, then shifted by pixels; zero where nothing is known."""
    side = len(image)
    y, x = np.mgrid[:side, :side].astype(float)
    x, y = x - right - (side - 1) / 2, y - down - (side - 1) / 2
    source = [np.sin(angle) * x + np.cos(angle) * y, np.cos(angle) * x - np.sin(angle) * y]
    padded = np.pad(image, 1)
    return map_coordinates(padded, [one + (side - 1) / 2 + 1 for one in source], order=1, mode="constant")


def test_copies_are_rotated_then_shifted_and_the_first_is_the_image(transforms):
    assert transforms.shape == (100, 2, 3)
    torch.testing.assert_close(transforms[0], torch.eye(2, 3, dtype=torch.float64))
    turn = transforms[:, :, :2]
    shift = -torch.linalg.solve(turn, transforms[:, :, 2])
    angle = torch.atan2(turn[:, 1, 0], turn[:, 0, 0])
    assert angle.abs().max() <= 0.5 and shift.abs().max() <= 30 / 112
    assert angle.std() > 0.2 and (shift.std(0) > 0.1).all()


@pytest.mark.parametrize("cells", [14, 7])
def test_a_copy_is_observed_at_the_upper_left_pixel_of_every_cell(transforms, cells):
    picture = np.random.default_rng(0).random((224, 224))
    where = authors.sample_points(transforms[[0, 17]], cells, cells)[None]
    h = torch.from_numpy(picture)[None, None]
    seen = torch.nn.functional.grid_sample(h, where, padding_mode="zeros", align_corners=False)[0, 0]
    step = 224 // cells
    np.testing.assert_allclose(seen[0].view(cells, cells), picture[::step, ::step], atol=1e-12)
    turn = transforms[17, :, :2]
    right, down = (-torch.linalg.solve(turn, transforms[17, :, 2]) * 112).tolist()
    copy = turned(picture, torch.atan2(turn[1, 0], turn[0, 0]).item(), right, down)
    np.testing.assert_allclose(seen[1].view(cells, cells), copy[::step, ::step], atol=1e-5)  # drawn in float32


def test_the_solver_takes_adams_first_steps(transforms, monkeypatch):
    """Kingma & Ba's algorithm 1 with the gradient by hand, on three copies and a small grid."""
    monkeypatch.setattr(authors, "SIDE", 8)
    monkeypatch.setattr(authors, "ITERATIONS", 5)
    maps = torch.rand(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = authors.descend(maps, transforms[:3])
    where = authors.sample_points(transforms[:3], 2, 2)[None]
    pixels = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
    operator = torch.nn.functional.grid_sample(
        pixels, where.expand(64, -1, -1, -1), padding_mode="zeros", align_corners=False
    )
    operator = operator.flatten(1).T.numpy()  # (L h w, pixels)
    for image in range(2):
        g, h, m, v = maps[image].flatten().numpy(), np.zeros(64), np.zeros(64), np.zeros(64)
        for step in range(1, 6):
            square = h.reshape(8, 8)
            tv = np.zeros((8, 8))
            tv[1:] += np.sign(np.diff(square, axis=0))
            tv[:-1] -= np.sign(np.diff(square, axis=0))
            tv[:, 1:] += np.sign(np.diff(square, axis=1))
            tv[:, :-1] -= np.sign(np.diff(square, axis=1))
            gradient = 2 * operator.T @ (operator @ h - g) + 3 * 0.002 * tv.ravel() + 3 * 1e-4 * 2 * h
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            h = h - 0.001 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(found[image].flatten(), h, atol=1e-12)
    assert found.abs().max() <= 5 * 0.001 * 1.0001


def test_what_lies_beyond_the_image_is_black():
    cut = network("gap", black=torch.tensor([-2.0, -1.0, 0.5]).view(1, 3, 1, 1))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]], dtype=torch.float64)  # a quarter of the image
    maps, probs = maps_of_copies(cut.trace(images), TARGET[:2, None], shift, "zeros")
    moved = cut.black.double().expand(2, 3, 32, 32).clone()
    moved[..., :24] = images[..., 8:]
    expected = cut.trace(moved)
    heat = gradcam(expected, TARGET[:2]).relu()
    torch.testing.assert_close(maps[:, 0, 0], (heat / heat.amax((1, 2), keepdim=True)).detach())
    torch.testing.assert_close(probs[:, 0], expected.logits.softmax(1).gather(1, TARGET[:2, None]).detach())
