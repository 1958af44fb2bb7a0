"""A network of two parts: the trunk of a classifier up to one of its layers, and a head for other classes on its maps.

The heads are those that Zhou et al. (CVPR 2016) and Oquab et al. (CVPR 2015) compare: global average pooling and a
linear layer, with or without a convolution in front, global maximum pooling, and fully connected layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, fx, nn

from stages.classify.architectures.head_shape import HeadShape
from stages.classify.architectures.lite import SameConv2d
from stages.errors import ConfigurationError

MAPS = "maps"
"""Name of the layer of :class:`Headed` whose output is the trunk's."""
HIDDEN = 64
"""Units of the hidden layer of the fully connected heads."""


class Headed(nn.Module):
    """Maps (N, 3, S, S) normalised RGB to (N, C) logits.

    Args:
        trunk: Maps (N, 3, S, S) to (N, K, h, w), see :func:`trunk_of`.
        head: Maps (N, K, h, w) to (N, C), see :func:`make_head`.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.maps = nn.Identity()  # A layer to explain, whatever the trunk's last operation is.
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.maps(self.trunk(x)[MAPS]))
        return logits


def trunk_of(module: nn.Module, layer: str) -> fx.GraphModule:
    """The part of a network up to and with one of its layers, without what comes after it.

    Args:
        module: The network, in eval mode; its parameters are shared.
        layer: Dotted name of the layer.

    Returns:
        A module that maps images to a dict with :data:`MAPS`, the layer's output.

    Raises:
        ConfigurationError: The network's operations depend on the images, so that it has no such part.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        found = create_feature_extractor(
            module, {layer: MAPS}, tracer_kwargs={"leaf_modules": [SameConv2d]}, suppress_diff_warning=True
        )
    except Exception as error:  # Tracing raises whatever the network's own code does with a symbol.
        message = f"{layer} cannot be cut off: {type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigurationError(message, about="layer") from None
    # Its copies forget which of two graphs is theirs.
    return fx.GraphModule(found, found.eval_graph)


def make_head(name: str, shape: HeadShape, boxed: bool = False) -> nn.Module:
    """A head with random weights; draws from PyTorch's global generator.

    Args:
        name: One of :data:`HEADS`.
        shape: What it is made for.
        boxed: Whether it gives boxes, too: a :class:`Boxed`.
    """
    named = nn.Sequential(*HEADS[name](shape))
    return Boxed(named, shape) if boxed else named


class Boxed(nn.Module):
    """A head whose part ``box`` maps (N, K, h, w) to boxes (N, 4): centre, width and height as shares of the input.

    It sees where things are: behind a pooling, a box would not depend on that.

    Args:
        named: Maps (N, K, h, w) to (N, C) logits.
        shape: What it is made for.
    """

    def __init__(self, named: nn.Module, shape: HeadShape) -> None:
        super().__init__()
        self.named = named
        self.box = nn.Sequential(
            *(nn.Conv2d(shape.inputs, 64, 1), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(64 * shape.side**2, 256), nn.ReLU(), nn.Linear(256, 4), nn.Sigmoid()),
        )

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.named(maps)
        return logits


def _gap(shape: HeadShape) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape.inputs, shape.classes)]


def _convolution(shape: HeadShape, pool: nn.Module) -> list[nn.Module]:
    convolution = nn.Conv2d(shape.inputs, shape.channels, shape.kernel, padding=shape.kernel // 2)
    return [convolution, nn.ReLU(), pool, nn.Flatten(), nn.Linear(shape.channels, shape.classes)]


def _connected(shape: HeadShape, dropout: float) -> list[nn.Module]:
    drop: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    first = nn.Linear(shape.inputs * shape.side**2, HIDDEN)
    return [nn.Flatten(), *drop, first, nn.ReLU(), *drop, nn.Linear(HIDDEN, shape.classes)]


HEADS: Mapping[str, Callable[[HeadShape], list[nn.Module]]] = {
    "gap": _gap,
    "conv-gap": lambda shape: _convolution(shape, nn.AdaptiveAvgPool2d(1)),
    "conv-gmp": lambda shape: _convolution(shape, nn.AdaptiveMaxPool2d(1)),
    "fc": lambda shape: _connected(shape, 0.0),
    "fc-dropout": lambda shape: _connected(shape, 0.5),
}
"""Heads by name, as lists of layers."""
