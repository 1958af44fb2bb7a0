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
from stages.classify.architectures.headed import HEADS, Headed, HeadShape, make_head, trunk_of
from stages.classify.checkpoints.files import read_file
from stages.classify.network import OUTPUTS, Preprocess
from stages.errors import ConfigurationError

FORM = 1
"""Number of this form of description."""
_KEY = "wsl"


@dataclass(frozen=True)
class Description:
    """How a trained network is built.

    Attributes:
        arch: Architecture of the trunk, as :func:`stages.classify.sources.untrained.untrained` takes it.
        layer: Its last layer.
        head: Name of the head.
        shape: What the head is made for.
        classes: The classes, in output order.
        outputs: What the outputs stand for: ``softmax`` or ``sigmoid``.
        preprocess: Preprocessing of the images.
        trained_on: Facts about the training, such as the digest of its configuration.
    """

    arch: str
    layer: str
    head: str
    shape: HeadShape
    classes: tuple[ClassInfo, ...]
    outputs: str
    preprocess: Preprocess
    trained_on: Mapping[str, Any]

    def network(self, trunk: nn.Module) -> Headed:
        """The network with a trunk and a head of random weights."""
        return Headed(trunk, make_head(self.head, self.shape))

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
    torch.save({"state_dict": tensors, _KEY: plain}, sink)
    return sink.getvalue()


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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"the description in {path} is damaged ({reason})", about="network") from None


class _LaterError(Exception):
    pass


def _parsed(plain: Mapping[str, Any]) -> Description:
    if int(plain["form"]) > FORM:
        raise _LaterError
    pixels, shape = plain["preprocess"], HeadShape(**{name: int(value) for name, value in plain["shape"].items()})
    mean, std = (tuple(map(float, pixels[name])) for name in ("mean", "std"))
    classes = tuple(ClassInfo(str(name), wnid) for name, wnid in plain["classes"])
    if plain["head"] not in HEADS or plain["outputs"] not in OUTPUTS or len(classes) != shape.classes:
        raise ValueError("an unknown head or kind of outputs, or names for another number of classes")
    if len(mean) != 3 or len(std) != 3 or not 0 < min(asdict(shape).values()) <= max(asdict(shape).values()) < 1e6:
        raise ValueError("a number out of range")
    preprocess = Preprocess(int(pixels["size"]), str(pixels["resample"]), float(pixels["crop_ratio"]), mean, std)
    arch, layer, head = (str(plain[name]) for name in ("arch", "layer", "head"))
    return Description(arch, layer, head, shape, classes, plain["outputs"], preprocess, dict(plain["trained_on"]))
