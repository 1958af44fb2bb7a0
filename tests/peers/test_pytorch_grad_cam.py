"""The same maps as pytorch-grad-cam, where it is right; where it is not: test_differences.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.peers.grad_cam import displayed, explain, logit
from tests.peers.networks import TARGET, Case
from tests.repetitions import EVERY

SAME = {
    "gradcam": "GradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
}


@pytest.mark.parametrize("name", SAME)
def test_gradients(network: Case, name: str):
    np.testing.assert_allclose(displayed(network.maps(name), network), explain(network, SAME[name]), atol=2e-4)


def test_shapleycam_of_the_same_score(network: Case):
    """The paper's score is y_c + log p_c; the library takes the logit, whose Hessian is zero, unless told."""
    theirs = explain(network, "ShapleyCAM", lambda output, c: output[c] + output.log_softmax(0)[c])
    np.testing.assert_allclose(displayed(network.maps("shapleycam"), network), theirs, atol=2e-4)


def test_finercam_of_the_same_score(network: Case):
    def score(output: torch.Tensor, c: int) -> torch.Tensor:
        nearest = [d for d in (output - output[c]).abs().argsort().tolist() if d != c][:3]
        return logit(output, c) - 0.6 * output[nearest].mean()

    np.testing.assert_allclose(
        displayed(network.maps("finercam"), network), explain(network, "FinerCAM", score), atol=2e-4
    )


def test_eigencam_up_to_its_sign(network: Case):
    ours, theirs = network.maps("eigencam"), explain(network, "EigenCAM")
    for row in range(len(TARGET)):
        found = [displayed(sign * ours, network)[row] for sign in (1, -1)]
        assert min(np.abs(one - theirs[row]).max() for one in found) < 2e-3


def test_ablationcam(network: Case):
    if network.trace.activations.shape[1] > 600:
        pytest.skip("one forward pass for each of 1,280 channels and image")
    if network.trace.head is None and not EVERY:
        pytest.skip("a minute and a half: WSL_PIPELINE_ALL_FAULTS=1")
    assert network.trace.activations.min() == 0  # or it would ablate to -10,000,000: test_differences.py
    theirs = explain(network, "AblationCAM", batch_size=128)
    np.testing.assert_allclose(displayed(network.maps("ablationcam"), network), theirs, atol=2e-3)
