"""A network as the graph of its operations."""

from __future__ import annotations

from torch import fx, nn


def graph_of(module: nn.Module) -> fx.GraphModule:
    """Its operations in the order of running; a convolution or a normalisation is one, of whatever type it is.

    Raises:
        Exception: Of any type, where what runs depends on the images.
    """
    return fx.GraphModule(module, _Tracer().trace(module))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)
