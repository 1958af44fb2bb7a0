"""The same raw maps as torch-cam, where it is right; where it is not: test_differences.py."""

from __future__ import annotations

import pytest
import torch

from tests.peers.networks import TARGET, Case

methods = pytest.importorskip("torchcam.methods", reason="torch-cam is not installed: see the extra `peers`")

SAME = {"cam": "CAM", "gradcam": "GradCAM", "layercam": "LayerCAM", "xgradcam": "XGradCAM", "finercam": "FinerCAM"}


def explain(case: Case, name: str) -> torch.Tensor:
    """(2, h, w) before normalisation."""
    with getattr(methods, name)(case.module, case.layer) as method:
        scores = case.module(case.images)
        return method(TARGET.tolist(), scores, normalized=False)[0].detach()


@pytest.mark.parametrize("name", SAME)
def test_raw_maps(network: Case, name: str):
    if name == "cam" and network.cut.head is None:
        pytest.skip("no GAP + linear head")
    ours = network.maps(name)
    if name != "cam":  # which torch-cam leaves as it is
        ours = ours.relu()
    theirs = explain(network, SAME[name])
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))
