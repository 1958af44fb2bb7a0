"""Weights stored in the precision in which they are used."""

from __future__ import annotations

import torch
from torch import nn


def store_convolutions(module: nn.Module, precision: torch.dtype) -> None:
    """Store the convolutions' weights and biases in a lower precision, in place.

    Under autocast a convolution rounds them in every pass, so results have the same bits, and a pass has two steps
    fewer a convolution. Other weights stay as they are: explainers read them, and normalisations use them in float32.

    Args:
        module: Network that is run under autocast.
        precision: ``torch.bfloat16`` or ``torch.float16``.

    >>> network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    >>> store_convolutions(network, torch.bfloat16)
    >>> network[0].weight.dtype, network[1].weight.dtype
    (torch.bfloat16, torch.float32)
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            for parameter in part.parameters(recurse=False):
                parameter.data = parameter.data.to(precision)
