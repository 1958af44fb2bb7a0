"""A network in parts that can take different numbers of images at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.passes.split_module import split_module

from stages.classify.graph import graph_of
from stages.classify.probe import forward_noise
from stages.classify.stem import Stem, begins_with


@dataclass(frozen=True)
class Parts:
    """``late(early(stem(images)))`` are the network's logits.

    Attributes:
        stem: Of a network that does not begin with one, it changes nothing.
        early: The layers of large maps and few weights.
        late: The layers of small maps and many weights.
        ratio: How many images fit in the late part's memory where the early one takes one.
    """

    stem: Stem | nn.Identity
    early: nn.Module
    late: nn.Module
    ratio: int


def parts(module: nn.Module, size: int) -> Parts | None:
    """Cut a network where the late part saves the most reading of weights; None where there is no such place.

    With r times as many images at a time the weights behind the cut are read 1/r times as often. The parts share the
    network's weights, but a hook of the network does not see them run. On noise they must give its logits.

    Args:
        module: In eval mode, on the CPU.
        size: Side of the input in pixels.
    """
    try:
        graph = graph_of(module)
        like = next(module.parameters())
        ShapeProp(graph).propagate(like.new_zeros(1, 3, size, size))
        found = _split(graph, module)
        alike = [module, nn.Sequential(found.stem, found.early, found.late)] if found else []
        logits = [forward_noise(one, size) for one in alike]
    except Exception:  # What cannot be traced, whatever it raises.
        return None
    same = all(torch.allclose(one, logits[0], rtol=0, atol=1e-4 * float(logits[0].abs().max())) for one in logits)
    return found if same else None


def _split(graph: fx.GraphModule, module: nn.Module) -> Parts | None:
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    cut, ratio = _best_cut(graph, nodes)
    if cut is None:
        return None
    begin, end = begins_with(graph) or (nn.Identity(), nodes[0])
    order = {node: place for place, node in enumerate(nodes)}
    if order[end] >= cut:
        begin, end = nn.Identity(), nodes[0]
    split = split_module(graph, module, lambda node: (order[node] > order[end]) + (order[node] > cut))
    return Parts(begin, split.get_submodule("submod_1"), split.get_submodule("submod_2"), ratio)


def _best_cut(graph: fx.GraphModule, nodes: list[fx.Node]) -> tuple[int | None, int]:
    """The place of the operation behind which to cut, and the ratio there."""
    sizes = [_size(node) for node in nodes]
    weights = [_weights(graph, node) for node in nodes]
    order = {node: place for place, node in enumerate(nodes)}
    last_read = [max((order.get(reader, len(nodes)) for reader in node.users), default=-1) for node in nodes]
    best: tuple[float, int | None, int] = (0.0, None, 1)
    for place in range(1, len(nodes) - 1):
        if any(last > place for last in last_read[:place]):
            continue  # Something else passes by.
        ratio = max(sizes[: place + 1]) // max(sizes[place:])
        saved = sum(weights[place + 1 :]) * (1 - 1 / max(ratio, 1))
        if saved > best[0]:
            best = saved, place, ratio
    return best[1:]


def _size(node: fx.Node) -> int:
    """How many values an operation gives for one image."""
    return math.prod(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _weights(graph: fx.GraphModule, node: fx.Node) -> int:
    if node.op != "call_module":
        return 0
    return sum(one.numel() for one in graph.get_submodule(str(node.target)).parameters())
