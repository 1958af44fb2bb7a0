"""The way in which many networks begin: a convolution, ReLU and max pooling."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, fx, nn


class Window(NamedTuple):
    """A square that slides over a map: its side, its step, and how far it begins outside."""

    kernel: int
    stride: int
    padding: int

    def results(self, side: int) -> int:
        """How many places it takes along a map of that side."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


class Stem(nn.Module):
    """Those three, (N, C, S, S) to (N, O, H, H).

    Attributes:
        convolving: The window of ``convolution``.
        pooling: The window of ``pool``.
    """

    def __init__(self, convolution: nn.Conv2d, relu: nn.ReLU, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.convolution, self.relu, self.pool = convolution, relu, pool
        self.convolving, self.pooling = _window(convolution), _window(pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.relu(self.convolution(x)))


def begins_with(graph: fx.GraphModule) -> tuple[Stem, fx.Node] | None:
    """The stem of a network's graph and its last operation, if the network begins so with plain ones of the three."""
    node = next(iter(graph.graph.nodes))
    found: list[nn.Module] = []
    while len(found) < 3:
        readers = list(node.users)
        if len(readers) != 1 or readers[0].op != "call_module":
            return None
        node = readers[0]
        module = graph.get_submodule(str(node.target))
        if type(module) is not nn.Identity:  # What folding leaves of a normalisation.
            found.append(module)
    convolution, relu, pool = found
    if type(convolution) is nn.Conv2d and type(relu) is nn.ReLU and type(pool) is nn.MaxPool2d:
        plain = convolution.groups == 1 and convolution.padding_mode == "zeros"
        whole = not (pool.ceil_mode or pool.return_indices)
        square = _is_square(convolution) and _is_square(pool)
        if plain and whole and square and not any(_is_altered(one) for one in found):
            return Stem(convolution, relu, pool), node
    return None


def _is_altered(module: nn.Module) -> bool:
    """Whether a call may do something else than its type says."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _is_square(sliding: nn.Conv2d | nn.MaxPool2d) -> bool:
    sides = sliding.kernel_size, sliding.stride, sliding.padding
    even = all(isinstance(one, int) or (isinstance(one, tuple) and one[0] == one[1]) for one in sides)
    return even and sliding.dilation in (1, (1, 1))


def _window(sliding: nn.Conv2d | nn.MaxPool2d) -> Window:
    sides = sliding.kernel_size, sliding.stride, sliding.padding
    return Window(*(one if isinstance(one, int) else int(one[0]) for one in sides))
