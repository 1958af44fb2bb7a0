"""A network in parts that can take different numbers of images at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module

from stages.classify.graph import graph_of
from stages.classify.stem import Stem, begins_with
from stages.trace.probe import forward_noise


@dataclass(frozen=True)
class Parts:
    """``late(early(stem(images)))`` are the network's logits.

    Attributes:
        stem: Of a network that does not begin with one, it changes nothing.
        early: The layers of large maps and few weights.
        late: The layers of small maps and many weights: what it gives for two images takes no more memory than what
            the others give for one.
        size: Side of the images in pixels. For others the network may do something else.
    """

    stem: Stem | nn.Identity
    early: nn.Module
    late: nn.Module
    size: int


def parts(module: nn.Module, size: int) -> Parts | None:
    """Cut a network where the late part saves the most reading of weights; None where there is no such place.

    The more images a part takes at a time, the less often it reads its weights. The parts share them with the network,
    but a hook of the network does not see them run. On noise they must give the network's logits.

    While a graph is recorded no other thread may run a network: its calls would be recorded, too.

    Args:
        module: In eval mode, on the CPU.
        size: Side of the input in pixels.
    """
    try:
        found = _split(module, size)
        if found is None:
            return None
        whole = forward_noise(module, size)
        again = forward_noise(nn.Sequential(found.stem, found.early, found.late), size)
        # Finite, because any two numbers differ by less than infinity.
        same = whole.isfinite().all() and torch.allclose(whole, again, rtol=0, atol=1e-4 * float(whole.abs().max()))
    except Exception:  # What cannot be recorded or run, whatever it raises.
        return None
    return found if same else None


def _split(module: nn.Module, size: int) -> Parts | None:
    graph = graph_of(module)
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    cut = _best_cut(graph, nodes, size)
    if cut is None:
        return None
    order = {node: place for place, node in enumerate(nodes)}
    begin, end = begins_with(graph) or (nn.Identity(), nodes[0])
    if order[end] >= cut:  # Nothing would be left for the early part.
        begin, end = nn.Identity(), nodes[0]

    def number(node: fx.Node) -> int:
        return 0 if order[node] <= order[end] else 1 if order[node] <= cut else 2

    split = split_module(graph, module, number)
    return Parts(begin, split.get_submodule("submod_1"), split.get_submodule("submod_2"), size)


def _best_cut(graph: fx.GraphModule, nodes: list[fx.Node], size: int) -> int | None:
    """The place of the operation behind which to cut.

    Behind it only its own result is read, and r values fit where before it the largest needed room for one. With r
    times as many images at a time the weights behind it are read r times less often.
    """
    sizes = _sizes(graph, size)
    weights = [_weights(graph, node) for node in nodes]
    order = {node: place for place, node in enumerate(nodes)}
    last_read = [max((order.get(reader, len(nodes)) for reader in node.users), default=-1) for node in nodes]
    best: tuple[float, int | None] = (0.0, None)
    for place in range(1, len(nodes) - 1):
        if nodes[place] not in sizes or any(last > place for last in last_read[:place]):
            continue  # Not one tensor, or something else passes by.
        before, behind = (max(sizes.get(node, 0) for node in some) for some in (nodes[: place + 1], nodes[place:]))
        saved = sum(weights[place + 1 :]) * (1 - behind / before)
        if 2 * behind <= before and saved > best[0]:
            best = saved, place
    return best[1]


def _sizes(graph: fx.GraphModule, size: int) -> dict[fx.Node, int]:
    """How many values an operation gives for one image, of those that give a tensor."""
    found: dict[fx.Node, int] = {}

    class Watching(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                found[n] = result.numel()
            return result

    like = next(graph.parameters())
    with torch.no_grad():
        Watching(graph).run(like.new_zeros(1, 3, size, size))
    return found


def _weights(graph: fx.GraphModule, node: fx.Node) -> int:
    if node.op != "call_module":
        return 0
    return sum(one.numel() for one in graph.get_submodule(str(node.target)).parameters())
