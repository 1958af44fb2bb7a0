"""The logits of any classifier, whatever it returns: probabilities, a single logit, a dict of things.

Maps explain logits. Those of probabilities vanish where the network is sure, and a softmax of probabilities is no
probability, so a last activation is left out. That is tried on noise, never guessed from names.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stages.classes import ClassInfo
from stages.classify.activation import ACTIVATIONS, LastActivation
from stages.classify.network import AUTO, Network
from stages.errors import ConfigurationError
from stages.trace.outputs import SIGMOID, SOFTMAX, two_classes
from stages.trace.probe import checked_logits, noise

STRONG = (-30.0, -3.0, 3.0, 30.0)
"""Scales of noise on which outputs stay between 0 and 1 only if something keeps them there."""
TOLERANCE = 1e-3
"""Error of the sum of a row of probabilities."""
ROUNDING = 1e-2
"""Error of a single one in half precision."""


class _Form(NamedTuple):
    """How logits come from what a network returns.

    Attributes:
        activation: The last activation, which is left out; empty where there is none.
        binary: Whether its one logit becomes two.
    """

    activation: str
    binary: bool

    def logits(self, forward: Callable[..., object], *inputs: Any, **named: Any) -> Tensor:
        """Run a network's forward function, and make logits (N, C) of its output."""
        if self.activation:
            with LastActivation() as last:
                output = _only(forward(*inputs, **named))
            found = last.before(output)
            if found is None:
                raise ConfigurationError(f"the network ends in {self.activation} only sometimes", about="network")
            output = found
        else:
            output = _only(forward(*inputs, **named))
        return two_classes(_flat(output)) if self.binary else _flat(output)


def with_logits(network: Network, size: int, stated: str = AUTO) -> Network:
    """The network as one that returns logits (N, C), with their kind, and notes on what is left out or added.

    The last activation is left out, the logits are taken out of a dict or tuple, and the one logit of a binary
    classifier becomes the two of :func:`stages.trace.outputs.two_classes`. A network that returns logits stays as
    it is. The given network and its module do not change.

    Args:
        network: Network as loaded.
        size: Side of the input in pixels.
        stated: ``softmax`` or ``sigmoid``, where the user says so; ``auto`` takes the network's own word, or tries.

    Raises:
        ConfigurationError: The outputs are probabilities whose logits cannot be found, several things of which none
            is called logits, or of another kind than stated.
    """
    stated = network.outputs if stated == AUTO else stated
    images = noise(network.module, size)
    with torch.no_grad(), LastActivation() as last:
        returned = network.module(images)
    output = _only(returned)
    after = checked_logits(_flat(output))
    before = last.before(output)
    notes = list(network.notes)
    if output is not returned:
        notes.append(f"the network returns a {type(returned).__name__}: the logits are taken out of it")
    if before is None:
        logits = after
        _check_no_probabilities(network.module, after, size)
        if last.times_a_number(output):
            raise ConfigurationError(
                f"the network returns the output of {last.name} times a number; return the logits (N, C) before it",
                about="network",
            )
        kind = SIGMOID if after.shape[1] == 1 else SOFTMAX if stated == AUTO else stated
        if after.shape[1] > 1 and after.logsumexp(1).abs().max() < TOLERANCE:
            notes.append("the network returns logarithms of probabilities: maps explain those")
    else:
        logits = _flat(before)
        kind = _checked_kind(last.name, logits, after)
        notes.append(f"the network ends in {last.name}, which is left out: maps explain the logits before it")
    if stated not in (AUTO, kind):
        raise ConfigurationError(
            f"{stated}, but the network ends in {'one output' if before is None else last.name}; leave it at auto",
            about="outputs",
        )
    binary = logits.shape[1] == 1
    found = copy.copy(network)
    if binary:
        found.classes = _two_classes(network.classes)
        names = " and ".join(repr(one.name) for one in found.classes) or "0 and 1"
        notes.append(f"the network has one output z: it is explained as two classes, {names}, of logits -z and z")
    if before is not None or binary or after is not returned:
        # Compiled code is no function calls any more, so what it was compiled from runs.
        inner: Any = getattr(network.module, "_orig_mod", network.module)
        module: Any = copy.copy(inner)  # the object alone, which shares every part and tensor
        module.forward = partial(_Form("" if before is None else last.name, binary).logits, inner.forward)
        found.module = module
    found.outputs, found.notes = kind, tuple(notes)
    return found


def _only(output: object) -> Tensor:
    """The logits that a container holds: those that it calls so, or its only (N, C) tensor.

    Raises:
        ConfigurationError: There is no such tensor, or more than one.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    held = list(output.values()) if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    fitting = [one for one in held if isinstance(one, Tensor) and _flat(one).ndim == 2]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(str(tuple(one.shape)) if isinstance(one, Tensor) else type(one).__name__ for one in held)
    raise ConfigurationError(
        f"the network returns {type(output).__name__}{' of ' if listed else ''}{listed}, not logits (N, C); return "
        "them alone, or in a dict under the name logits",
        about="network",
    )


def _flat(output: Tensor) -> Tensor:
    """(N, C) where the output is that with more axes of length 1, or one logit per image without an axis of its own."""
    if output.ndim < 2:
        return output.reshape(-1, 1)
    return output.flatten(1) if all(length == 1 for length in output.shape[2:]) else output


def _checked_kind(activation: str, logits: Tensor, after: Tensor) -> str:
    """The kind of outputs that an activation makes, if it made the outputs from the logits (N, C).

    Raises:
        ConfigurationError: It runs over something else than the classes, or over a single one.
    """
    kind, apply = ACTIVATIONS[activation]
    if kind == SOFTMAX and logits.shape[1] == 1:
        raise ConfigurationError(
            f"the network ends in {activation} over one output, which is the same for every image; return the logit "
            "itself, or two",
            about="network",
        )
    if not torch.allclose(apply(logits.float(), kind), after.float(), rtol=ROUNDING, atol=ROUNDING, equal_nan=True):
        raise ConfigurationError(
            f"the network ends in {activation}, but not over the classes of each image (dim=1); return the logits "
            "(N, C) before it",
            about="network",
        )
    return kind


@torch.no_grad()
def _check_no_probabilities(module: nn.Module, outputs: Tensor, size: int) -> None:
    """Check that a network's outputs (N, C) of noise do not look like probabilities.

    Rows that add up to 1, or to 100, give a softmax away. A sigmoid keeps even strong noise between 0 and 1, as a
    clamp does, and comes near to 0 or 1 without reaching it, as a clamp does not.

    Raises:
        ConfigurationError: They look like probabilities of an activation that could not be found.
    """
    what = ""
    sums = outputs.double().sum(1)
    if outputs.shape[1] > 1 and (outputs >= 0).all() and (sums - 100).abs().max() < 100 * TOLERANCE:
        what = "softmax in percent"
    elif not ((outputs >= 0) & (outputs <= 1)).all():
        return
    elif outputs.shape[1] > 1 and (sums - 1).abs().max() < TOLERANCE:
        what = "softmax"
    elif ((outputs > 0) & (outputs < 1)).all():
        strong = [_only(module(noise(module, size, scale))) for scale in STRONG]
        every = torch.cat([one.flatten() for one in [outputs, *strong]])
        every = every[every.isfinite()]
        away = torch.minimum(every, 1 - every)
        if (away >= 0).all() and ((away > 0) & (away < TOLERANCE)).any():
            what = "sigmoid"
    if what:
        raise ConfigurationError(
            f"the network returns probabilities, as of a {what}, but ends in no {what.split()[0]} that could be left "
            "out; return the logits (N, C) before it",
            about="network",
        )


def _two_classes(classes: list[ClassInfo]) -> list[ClassInfo]:
    """The classes of a binary classifier, which may name both, the one that it detects, or none."""
    return [ClassInfo(f"not {classes[0].name}"), *classes] if len(classes) == 1 else classes
