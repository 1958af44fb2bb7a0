"""Cascading randomisation of a network's parameters, from the logits to the input (Adebayo et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stages.trace.probe import forward_noise, hookable

MOST = 24
"""Maximum number of groups of a network's parameters."""


def parameter_groups(module: nn.Module, size: int) -> list[tuple[str, list[nn.Parameter]]]:
    """The parameters in the reverse order of their use, in groups by the parts of the network that own them.

    Parts are named as deep in the network as gives no more than :data:`MOST` of them: ``fc``, ``layer4.2``,
    ``layer4.1`` ... for a ResNet-50. What a forward pass does not use is left out.

    Args:
        module: The network, in eval mode.
        size: Side of its input in pixels.
    """
    used = _used(module, size)
    depths = range(1, 1 + max((name.count(".") + 1 for name, _ in used), default=0))
    fits = [depth for depth in depths if len({_part(name, depth) for name, _ in used}) <= MOST]
    depth = max(fits, default=1)
    groups: dict[str, list[nn.Parameter]] = {}
    seen: set[int] = set()
    for name, owner in reversed(used):
        for parameter in owner.parameters(recurse=False):
            if id(parameter) not in seen:  # Parts may share one.
                seen.add(id(parameter))
                groups.setdefault(_part(name, depth), []).append(parameter)
    return list(groups.items())


@torch.no_grad()
def shuffle(parameters: Iterable[Tensor], generator: torch.Generator) -> None:
    """Shuffle the entries of each tensor: their distribution stays, what was learnt is lost.

    The scale of the activations stays with the distribution, so that a map changes for what the network has
    forgotten, not because it vanished. Statistics of batch normalisation are not parameters and stay, too.
    """
    for parameter in parameters:
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


@contextmanager
def restored(module: nn.Module) -> Iterator[None]:
    """Restore the values of every parameter on exit, whatever happens."""
    before = [(parameter, parameter.detach().clone()) for parameter in module.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in before:
                parameter.copy_(values)


def _used(module: nn.Module, size: int) -> list[tuple[str, nn.Module]]:
    """The parts that own parameters, in the order of their last use."""
    last: dict[str, nn.Module] = {}

    def watch(name: str, part: nn.Module) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: object) -> None:
            last.pop(name, None)
            last[name] = part

        return part.register_forward_pre_hook(hook)

    owners = [(name, part) for name, part in hookable(module) if any(True for _ in part.parameters(False))]
    handles = [watch(name, part) for name, part in owners]
    try:
        forward_noise(module, size)
    finally:
        for handle in handles:
            handle.remove()
    return list(last.items())


def _part(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])
