"""The table of networks against the networks themselves, with random weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.classify.adapt import adapted
from stages.classify.known import NETWORKS
from stages.classify.lite0 import EfficientNetLite0
from stages.classify.nin import NetworkInNetwork
from stages.classify.probe import last_spatial_layer


def build(spec: str) -> nn.Module:
    source, _, name = spec.partition(":")
    if source == "torchvision":
        from torchvision import models

        extra = {"init_weights": False, "aux_logits": False} if "inception" in name or name == "googlenet" else {}
        module = models.get_model(name, weights=None, **extra)
        if name == "vit_b_16":
            nn.init.normal_(module.heads.head.weight, std=0.02)  # zero as built: nothing would be explained
    elif source == "timm":
        module = pytest.importorskip("timm").create_model(name, pretrained=False)
    else:
        module = {"nin": NetworkInNetwork, "lite0": EfficientNetLite0}[source]()
    return adapted(module).eval().requires_grad_(False)


@pytest.mark.parametrize("spec", NETWORKS)
def test_the_layer_and_its_map(spec):
    """On the meta device: shapes without arithmetic."""
    known = NETWORKS[spec]
    with torch.device("meta"):
        module = build(spec)
    assert last_spatial_layer(module, known.size) == known.layer
    shapes = []
    from stages.classify.layout import to_maps

    module.get_submodule(known.layer).register_forward_hook(lambda *args: shapes.append(to_maps(args[2]).shape))
    module(torch.empty(2, 3, known.size, known.size, device="meta"))
    assert shapes == [(2, *known.maps)]
