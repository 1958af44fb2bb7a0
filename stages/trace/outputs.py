"""What a network's logits stand for: classes of which one is true, or classes that are true each for itself."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

SOFTMAX, SIGMOID = "softmax", "sigmoid"


def probabilities(logits: Tensor, outputs: str) -> Tensor:
    """The probabilities of logits (..., C).

    Args:
        logits: Logits of all classes.
        outputs: ``softmax``, where one class excludes the others, or ``sigmoid``, where none does.
    """
    return logits.sigmoid() if outputs == SIGMOID else logits.softmax(-1)


def log_probabilities(logits: Tensor, outputs: str) -> Tensor:
    """The logarithm of :func:`probabilities`, exact where they round to zero."""
    return nn.functional.logsigmoid(logits) if outputs == SIGMOID else logits.log_softmax(-1)


def two_classes(logit: Tensor) -> Tensor:
    """Logits (N, 2) of the classes "no" and "yes" of a binary classifier, from its one logit (N, 1).

    They are -z and z, of kind ``sigmoid``: the probabilities add up to 1, and the map of either class is exactly
    that of its own score.
    """
    return torch.cat([-logit, logit], 1)


class Head(Protocol):
    """The linear layer behind GAP, W F + b."""

    @property
    def weight(self) -> Tensor:
        """W, (C, K)."""

    @property
    def bias(self) -> Tensor | None:
        """b, (C,)."""


class TwoClasses:
    """The head of :func:`two_classes`, from the head that gives their one logit.

    Args:
        one: That head; this one follows its parameters.
    """

    def __init__(self, one: Head) -> None:
        self._one = one

    @property
    def weight(self) -> Tensor:
        """-w and w, (2, K)."""
        return torch.cat([-self._one.weight, self._one.weight])

    @property
    def bias(self) -> Tensor | None:
        """-b and b, (2,)."""
        return None if self._one.bias is None else torch.cat([-self._one.bias, self._one.bias])
