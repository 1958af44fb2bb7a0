"""The table of networks against the networks themselves, with random weights."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from stages.classify.architectures.densenet import adapted
from stages.classify.architectures.nin import NetworkInNetwork
from stages.classify.catalog import CLASS_MAPS, GAP_LINEAR, MLP, NETWORKS, TOKENS
from stages.classify.sources.lite import LITES
from stages.trace.layout import to_maps
from stages.trace.probe import last_spatial_layer


def build(spec: str, side: int | None = None) -> nn.Module:
    """The network with random weights; one that is built for one size of image, for that of ``side`` pixels."""
    source, _, name = spec.partition(":")
    sized = {} if side is None else {"image_size" if source == "torchvision" else "img_size": side}
    if source == "torchvision":
        from torchvision import models

        extra = {"init_weights": False, "aux_logits": False} if "inception" in name or name == "googlenet" else {}
        module = models.get_model(name, weights=None, **extra, **(sized if name == "vit_b_16" else {}))
        if name == "vit_b_16":
            nn.init.normal_(module.heads.head.weight, std=0.02)  # zero as built: nothing would be explained
    elif source == "timm":
        module = pytest.importorskip("timm").create_model(
            name, pretrained=False, **({} if "inception" in name else sized)
        )
    else:
        module = NetworkInNetwork() if source == "nin" else LITES[source].untrained(1000)[0]
    return adapted(module).eval().requires_grad_(False)


LARGE = re.compile("inception|densenet|swin|vgg|resnet152|resnet101|convnext|efficientnet_b|regnet")
"""Networks that take seconds to build."""


@pytest.mark.parametrize(
    "spec", [pytest.param(one, marks=pytest.mark.slow) if LARGE.search(one) else one for one in NETWORKS]
)
def test_the_layer_and_its_map(spec):
    """On the meta device: shapes and functions without arithmetic."""
    known = NETWORKS[spec]
    with torch.device("meta"):
        module = build(spec)
    assert last_spatial_layer(module, known.size) == known.layer
    shapes, behind = [], Functions()

    def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        shapes.append(to_maps(output).shape)
        behind.names.clear()

    module.get_submodule(known.layer).register_forward_hook(hook)
    with behind:
        module(torch.empty(2, 3, known.size, known.size, device="meta"))
    assert shapes == [(2, *known.maps)]
    assert head_of(behind.names) == known.head


class Functions(TorchFunctionMode):
    """The names of torch's functions in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **kwargs or {})


def head_of(functions: list[str]) -> str:
    """What a head is by the functions that it calls."""
    if {"scaled_dot_product_attention", "multi_head_attention_forward"} & set(functions):
        return TOKENS
    means = ("mean", "adaptive_avg_pool2d", "flatten", "dropout", "__get__", "dim", "size")
    others = [one for one in functions if one not in means]
    return CLASS_MAPS if not others else GAP_LINEAR if others == ["linear"] else MLP
