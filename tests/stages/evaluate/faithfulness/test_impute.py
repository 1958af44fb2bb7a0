"""The solver of ROAD's linear system against a direct one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.evaluate.faithfulness.impute import _doubled, _halved, imputed
from tests.stages.evaluate.faithfulness import slow


def scene(size: int, share: float, blocks: int, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and masks in which a share of the pixels is missing, in patches of a given number a side."""
    rng = np.random.default_rng([size, blocks])
    heat = rng.random((count, blocks, blocks)).repeat(-(-size // blocks), 1).repeat(-(-size // blocks), 2)
    heat = heat[:, :size, :size] + 1e-3 * rng.random((count, size, size))
    place = heat.reshape(count, -1).argsort(1).argsort(1).reshape(count, 1, size, size)
    return torch.from_numpy(rng.normal(size=(count, 3, size, size))), torch.from_numpy(place < share * size**2)


@pytest.mark.parametrize("size", [5, 16, 27])
@pytest.mark.parametrize(("share", "blocks"), [(0.1, 27), (0.5, 5), (0.9, 3), (0.9, 27)])
def test_it_solves_the_system(size, share, blocks):
    images, gone = scene(size, share, blocks)
    found = imputed(images, gone)
    for image, mask, solved in zip(images.numpy(), gone[:, 0].numpy(), found.numpy(), strict=True):
        np.testing.assert_allclose(solved, slow.imputed(image, mask), atol=5e-3)
        assert (solved[:, ~mask] == image[:, ~mask]).all()


def test_single_precision_suffices():
    images, gone = scene(48, 0.9, 4)
    np.testing.assert_allclose(imputed(images.float(), gone), imputed(images, gone), atol=5e-3)


def test_what_is_linear_is_continued():
    """A ramp with a hole is a ramp again."""
    ramp = torch.linspace(-1, 1, 24, dtype=torch.float64).expand(1, 3, 24, 24).contiguous()
    gone = torch.zeros(1, 1, 24, 24, dtype=torch.bool)
    gone[..., 5:15, 7:20] = True
    torch.testing.assert_close(imputed(ramp, gone), ramp, atol=2e-3, rtol=0)


def test_nothing_or_all_but_one_pixel_missing():
    images, gone = scene(9, 0.5, 9, 1)
    torch.testing.assert_close(imputed(images, torch.zeros_like(gone)), images)
    gone = torch.ones_like(gone)
    gone[0, 0, 4, 2] = False
    torch.testing.assert_close(imputed(images, gone), images[:, :, 4:5, 2:3].expand_as(images), atol=5e-3, rtol=0)


def test_an_image_is_solved_alone_as_in_company():
    """One needs many more steps than the other."""
    images, gone = scene(32, 0.9, 2, 2)
    gone[1] = False
    gone[1, 0, 3, 3] = True
    together = imputed(images, gone)
    for row in range(2):
        torch.testing.assert_close(imputed(images[row : row + 1], gone[row : row + 1])[0], together[row])


def test_coarse_grids_are_left_as_they_are_entered():
    """Restriction is the transpose of interpolation; conjugate gradients need a symmetric preconditioner."""
    fine, coarse = torch.randn(2, 12, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    assert float((_halved(fine) * coarse).sum()) == pytest.approx(float((fine * _doubled(coarse)).sum()))
