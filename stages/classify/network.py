"""What the pipeline asks of a classifier, whatever library it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.errors import ConfigurationError
from stages.ingest.dataset import ClassInfo

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Preprocess:
    """How a network wants its pixels.

    Attributes:
        size: Side of the square input in pixels.
        resample: ``bilinear`` or ``bicubic``, both antialiased (Pillow).
        crop_ratio: Share of the shorter side that a centre crop keeps.
        mean: Per channel, of RGB values in [0, 1].
        std: Per channel.
    """

    size: int = 224
    resample: str = "bilinear"
    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass
class Network:
    """A classifier that is ready to be explained.

    Attributes:
        module: Maps (N, 3, size, size) normalised RGB to (N, C) logits. In eval mode, frozen.
        layer: Dotted name of the module whose output is explained by default.
        classes: The C classes in output order; empty where nobody told their names.
        preprocess: How the network wants its pixels.
        weights_sha256: Of the file that the weights came from; of the tensors where there is none.
    """

    module: nn.Module
    layer: str
    classes: list[ClassInfo]
    preprocess: Preprocess
    weights_sha256: str

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(False)
        self.find_layer(self.layer)

    @property
    def num_outputs(self) -> int:
        """Length of the logits."""
        if self.classes:
            return len(self.classes)
        from stages.classify.probe import forward_noise

        return forward_noise(self.module, self.preprocess.size).shape[1]

    def find_layer(self, name: str) -> nn.Module:
        """The module of that dotted name; ``last`` is the default layer.

        Raises:
            ConfigurationError: There is none; the message names the nearest.
        """
        modules = dict(self.module.named_modules())
        wanted = self.layer if name == "last" else name
        if wanted in modules and wanted:
            return modules[wanted]
        import difflib

        near = ", ".join(difflib.get_close_matches(name, list(modules), n=3, cutoff=0.3))
        raise ConfigurationError(f"explain.layer: the network has no layer {name!r}; nearest: {near or 'none'}")
