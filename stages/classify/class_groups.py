"""Several outputs of a network as one class: their probabilities added up, the most probable one explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def grouped(
    probs: Tensor, groups: Sequence[Sequence[int]], exclusive: bool = True, absent: float = -1.0
) -> tuple[Tensor, Tensor]:
    """Probabilities of classes of which some are several outputs.

    Args:
        probs: (N, C) probability of each output, or its logit where outputs do not exclude each other.
        groups: Outputs that are one class, which has the number of the first; no output stands twice.
        exclusive: Whether one output excludes the others, so that their probabilities add up; otherwise a class has
            that of its most probable output.
        absent: Value of an output that is part of another class.

    Returns:
        (N, C) probability of each class, and (N, C) int64, the output that is explained for each class.

    >>> import torch
    >>> probs, outputs = grouped(torch.tensor([[0.125, 0.5, 0.25, 0.125]]), [(0, 2, 3)])
    >>> probs.tolist(), outputs.tolist()
    ([[0.5, 0.5, -1.0, -1.0]], [[2, 1, 2, 3]])

    Rounding makes no class more probable than 1:

    >>> grouped(torch.tensor([[0.6, 0.4, 2e-7]]), [(0, 1, 2)])[0][0, 0].item()
    1.0
    """
    import torch

    outputs = torch.arange(probs.shape[1], device=probs.device).repeat(len(probs), 1)
    summed = probs.clone()
    for group in groups:
        members = torch.tensor(group, device=probs.device)
        own = probs[:, members]
        outputs[:, group[0]] = members[own.argmax(1)]
        summed[:, members] = absent
        summed[:, group[0]] = own.sum(1).clamp(max=1) if exclusive else own.amax(1)
    return summed, outputs
