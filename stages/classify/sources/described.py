"""Checkpoints that describe themselves: tensors, and plain data that say how to build the network that they belong to.

Such a file loads with ``torch.load(weights_only=True)``: ``state_dict`` has the tensors by name, ``wsl`` what
describes them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.classes import ClassInfo
from stages.classify.architectures.head_shape import HeadShape
from stages.classify.architectures.headed import HEADS, Headed, make_head, trunk_of
from stages.classify.checkpoints.files import read_file
from stages.classify.network import OUTPUTS, Preprocess
from stages.classify.weights import load_into, tensors_sha256
from stages.errors import ConfigurationError
from stages.ingest.geometry import FITS

FORM = 1
"""Number of this form of description."""
_KEY, _DIGEST = "wsl", "tensors_sha256"
_LARGEST, _LARGEST_SIDE = 10**6, 1024


@dataclass(frozen=True)
class Description:
    """How a trained network is built.

    Attributes:
        arch: Architecture of the trunk, as :func:`stages.classify.sources.untrained.untrained` takes it.
        layer: Its last layer.
        head: Name of the head.
        boxed: Whether the head gives boxes, too.
        shape: What the head is made for.
        classes: The classes, in output order.
        outputs: What the outputs stand for: ``softmax`` or ``sigmoid``.
        preprocess: Preprocessing of the images.
        fit: How images were made square, such as ``squash``.
        trained_on: Facts about the training, such as the digest of its configuration.
    """

    arch: str
    layer: str
    head: str
    boxed: bool
    shape: HeadShape
    classes: tuple[ClassInfo, ...]
    outputs: str
    preprocess: Preprocess
    fit: str
    trained_on: Mapping[str, Any]

    def network(self, trunk: nn.Module) -> Headed:
        """The network with a trunk and a head of random weights."""
        return Headed(trunk, make_head(self.head, self.shape, self.boxed))

    def untrained(self) -> Headed:
        """The network with random weights.

        Raises:
            ConfigurationError: The architecture is unknown to the installed libraries.
        """
        from stages.classify.architectures.densenet import adapted
        from stages.classify.sources.untrained import check_architecture, untrained

        check_architecture(self.arch)
        module = adapted(untrained(self.arch, 1000)[0]).eval()
        return self.network(trunk_of(module, self.layer))


def to_bytes(description: Description, module: nn.Module) -> bytes:
    """The file of a network that was built as described; equal tensors give equal bytes."""
    plain = asdict(description) | {"form": FORM, "trained_on": dict(description.trained_on)}
    plain["classes"] = [[one.name, one.wnid] for one in description.classes]
    plain["preprocess"] |= {name: list(plain["preprocess"][name]) for name in ("mean", "std")}
    sink = io.BytesIO()
    tensors = {name: one.detach().cpu().contiguous() for name, one in module.state_dict().items()}
    torch.save({"state_dict": tensors, _KEY: plain | {_DIGEST: tensors_sha256(module)}}, sink)
    return sink.getvalue()


def described_network(path: Path) -> tuple[Description, Headed] | None:
    """The network in a checkpoint that describes itself, and the description; None where it does not.

    Raises:
        WeightsUnavailableError: There is no such file.
        ConfigurationError: The file or its description is damaged, or of a later version.
    """
    found = description_of(path)
    if found is None:
        return None
    try:
        module = found.untrained()
        load_into(module, path, architecture=found.arch)
    except (ConfigurationError, RuntimeError) as error:  # Of PyTorch, on sizes that no memory has.
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} does not describe its network ({reason})", about="network") from None
    content = read_file(path)
    assert isinstance(content, Mapping)
    if content[_KEY].get(_DIGEST) != tensors_sha256(module):
        raise ConfigurationError(f"{path} is damaged: its tensors are not those that were written", about="network")
    return found, module


def description_of(path: Path) -> Description | None:
    """The description in a checkpoint; None where it has none.

    Raises:
        WeightsUnavailableError: There is no such file.
        ConfigurationError: The file or its description is damaged, or of a later version.
    """
    content = read_file(path)
    plain = content.get(_KEY) if isinstance(content, Mapping) else None
    if plain is None:
        return None
    try:
        return _parsed(plain)
    except _LaterError:
        raise ConfigurationError(f"{path} was written by a later version; use that one", about="network") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"the description in {path} is damaged ({reason})", about="network") from None


class _LaterError(Exception):
    pass


def _parsed(plain: Mapping[str, Any]) -> Description:
    if int(plain["form"]) > FORM:
        raise _LaterError
    shape = HeadShape(**{name: int(value) for name, value in plain["shape"].items()})
    classes = tuple(ClassInfo(_text(name), wnid if wnid is None else _text(wnid)) for name, wnid in plain["classes"])
    if not 0 < min(asdict(shape).values()) <= max(asdict(shape).values()) < _LARGEST or shape.side > _LARGEST_SIDE:
        raise ValueError("a size of the head out of range")
    if len({one.name for one in classes}) != shape.classes:
        raise ValueError("names for another number of classes")
    if plain["head"] not in HEADS or plain["outputs"] not in OUTPUTS or plain["fit"] not in FITS:
        raise ValueError("an unknown head, kind of outputs or fit")
    arch, layer, head = (_text(plain[name]) for name in ("arch", "layer", "head"))
    return Description(
        *(
            arch,
            layer,
            head,
            bool(plain["boxed"]),
            shape,
            classes,
            plain["outputs"],
            _preprocess(plain["preprocess"]),
            plain["fit"],
        ),
        trained_on=dict(plain["trained_on"]),
    )


def _preprocess(plain: Mapping[str, Any]) -> Preprocess:
    size, crop = int(plain["size"]), float(plain["crop_ratio"])
    mean, std = (tuple(map(float, plain[name])) for name in ("mean", "std"))
    if (
        len(mean) != 3
        or len(std) != 3
        or not all(0 <= one <= 1 for one in mean)
        or not all(0 < one <= 1 for one in std)
    ):
        raise ValueError("a mean or std that is not of RGB from 0 to 1")
    if not 32 <= size <= 4096 or not 0 < crop <= 1 or plain["resample"] not in ("bilinear", "bicubic"):
        raise ValueError("a size, crop or resampling out of range")
    return Preprocess(size, plain["resample"], crop, mean, std)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{value!r} is no name")
    return value
