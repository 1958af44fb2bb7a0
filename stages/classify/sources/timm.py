"""Classifiers of timm, an optional library: ``timm:resnet50.a1_in1k``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from stages.classes import ClassInfo, imagenet_classes
from stages.classify.network import Network, Preprocess
from stages.errors import ConfigurationError, WeightsUnavailableError, first_line, unknown


def check(rest: str) -> None:
    """Look up the network, and the weights where they are named after the dot."""
    check_architecture(rest)
    architecture, dot, _ = rest.partition(".")
    known = _timm().list_pretrained(f"{architecture}.*")
    if dot and rest not in known:
        raise unknown(f"weights of timm's {architecture}:", rest, known, about="network")


def load(rest: str, folder: Path) -> Network:
    """The network with its published weights, fetched from Hugging Face if they are not in its cache.

    Raises:
        WeightsUnavailableError: The weights cannot be fetched.
    """
    timm = _timm()
    try:
        with nullcontext() if _hub_answers() else _from_cache():
            module = timm.create_model(rest, pretrained=True)
    except Exception as error:
        raise WeightsUnavailableError(
            f"cannot fetch the weights of timm:{rest} ({first_line(error)}); "
            "fill HF_HOME on a machine with internet access and copy it",
            about="network",
        ) from None
    return Network(module, _classes(module.num_classes), _as_configured(module))


def classes(rest: str) -> Sequence[ClassInfo]:
    """The classes of a checked name, which need no weights."""
    published = _timm().get_pretrained_cfg(rest)
    return _classes(published.num_classes if published else None)


def _classes(count: int | None) -> Sequence[ClassInfo]:
    return imagenet_classes() if count == 1000 else ()


def check_architecture(name: str) -> None:
    """Look up the network without weights."""
    if not _timm().is_model(name):
        raise unknown("timm model", name, _timm().list_models(), about="network")


def untrained(name: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    """The network with random weights, and the preprocessing of the published weights."""
    module = _timm().create_model(name, pretrained=False, num_classes=num_classes)
    return module, _as_configured(module)


def _hub_answers() -> bool:
    """Whether Hugging Face can be reached; its own client finds out that it cannot only after a minute of retries."""
    hub = import_module("huggingface_hub")
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # Its versions use different HTTP libraries.
        return type(error).__name__ == "ReadTimeout"  # It is there, but slow.
    return True


@contextmanager
def _from_cache() -> Iterator[None]:
    """Let the client of Hugging Face look into its cache only."""
    constants: Any = import_module("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _timm() -> Any:
    try:
        return import_module("timm")
    except ImportError:
        raise ConfigurationError("timm is not installed; pip install timm", about="network") from None


def _as_configured(module: nn.Module) -> Preprocess:
    """The preprocessing that timm configures for one of its networks."""
    data = import_module("timm.data").resolve_model_data_config(module)
    return Preprocess(
        data["input_size"][-1], data["interpolation"], data["crop_pct"], tuple(data["mean"]), tuple(data["std"])
    )
