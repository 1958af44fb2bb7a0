"""Every method on every network of the table, with all its layers and random weights: a map, or a refusal."""

from __future__ import annotations

import pytest
import torch

from stages.classify.catalog import CLASS_MAPS, GAP_LINEAR, MLP, NETWORKS, TOKENS
from stages.errors import ConfigurationError
from stages.explain.methods import augmented, augmented_authors
from stages.explain.registry import get_explainer, single_pass
from stages.trace.cut import CutNetwork
from stages.trace.views import Views
from tests.stages.classify.test_catalog import build

SIDES = {"nin": 96, **{name: 128 for name in NETWORKS if "inception_" in name}}
"""Of the image in pixels, where 64 would leave no map."""
LOUD = 8
"""Channels that Score-CAM finds with something to say; it makes a pass for each."""
TARGETS = torch.tensor([[3, 7]])

REFUSED = {
    GAP_LINEAR: set(),
    CLASS_MAPS: set(),
    MLP: {"cam", "positive-cam"},
    TOKENS: {"cam", "positive-cam", "liftcam", "fullgrad"},
}
"""By what follows the layer: no linear head on the map, attention behind it."""
WITHIN = {
    "torchvision:efficientnet_b0": {"fullgrad"},  # gates
    "torchvision:mobilenet_v3_small": {"fullgrad"},  # gates
    "torchvision:convnext_tiny": {"fullgrad", "liftcam"},  # layer normalisation, also behind the layer
    "torchvision:swin_t": {"fullgrad"},  # attention
    "timm:swin_tiny_patch4_window7_224": {"fullgrad"},  # attention
}
"""What also refuses a network for what it is made of."""


@pytest.fixture
def one_thread():
    """As a worker runs: operators on small images share out badly, ten times slower where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("spec", NETWORKS)
def test_every_method_gives_a_map_or_refuses_in_one_line(spec, few_steps, one_thread):
    known, side = NETWORKS[spec], SIDES.get(spec, 64)
    torch.manual_seed(0)
    module = build(spec, side)
    cut = CutNetwork(module, [known.layer], side)
    assert (cut.head is not None) == (known.head in (GAP_LINEAR, CLASS_MAPS))
    image = torch.randn(1, 3, side, side)
    trace = cut.trace(image)
    assert trace.gradients(TARGETS[:, 0]).any()
    grid = tuple(trace.activations.shape[2:])
    grids = {
        "fullgrad": (side // 2, side // 2),
        **dict.fromkeys(("augmented-gradcam", "weighted-augmented-gradcam"), (augmented.SIDE, augmented.SIDE)),
        "augmented-gradcam-authors": (augmented_authors.SIDE, augmented_authors.SIDE),
    }
    views, quiet = Views(trace, False, [1.0], TARGETS), cut.trace(image)
    with torch.no_grad():
        quiet.activations[:, LOUD:] = 0
    refused = set()
    for name in single_pass():
        try:
            method = get_explainer(name, cut.head is not None)
            if method.check:
                method.check(trace)
        except ConfigurationError as error:
            assert "\n" not in str(error) and name in str(error)
            refused.add(name)
            continue
        seen = Views(quiet, False, [1.0], TARGETS) if name.startswith("scorecam") else views
        for target in TARGETS.unbind(1):
            maps = seen.explain(method.function, target, method.fuse)
            assert maps.shape == (1, *grids.get(name, grid)), name
            assert maps.isfinite().all(), name
    assert refused == REFUSED[known.head] | WITHIN.get(spec, set())
