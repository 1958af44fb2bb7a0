"""Networks for runs on a GPU, as ``python:tests.gpu.networks:NAME``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.classify.network import Network, Preprocess


def resnet50() -> nn.Module:
    """Random weights; all of this process's tensors must fit in the share ``GPU_MEMORY`` of the GPU's memory."""
    from torchvision import models

    share = os.environ.get("GPU_MEMORY")
    if share and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(float(share))
    torch.manual_seed(0)
    return models.resnet50()


class LosesTheDevice(nn.Module):
    """Reads beyond a table, at which a GPU gives up the whole process; without a GPU, the process ends.

    Args:
        at: Mean of an input's first channel from which on that happens.
        once: A file without which it does not, and which it removes.
    """

    def __init__(self, at: float, once: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(12, 1000)
        self.at, self.once = at, once

    def forward(self, x: Tensor) -> Tensor:
        broken = x[:, 0].mean((1, 2)) >= self.at
        if self.once and len(x) > 2:  # Not where the driver tries the network.
            try:
                Path(self.once).unlink()
                broken = torch.ones_like(broken)
            except FileNotFoundError:
                broken = torch.zeros_like(broken)
        elif self.once:
            broken = torch.zeros_like(broken)
        if not x.is_cuda and broken.any():
            os.kill(os.getpid(), signal.SIGKILL)
        table = x.new_zeros(3)
        return self.fc(self.features(x).mean((2, 3))) + table[broken.long() * 7][:, None]


def lost_once() -> Network:
    """Loses the device once, if the file ``LOSE_ONCE`` is there."""
    return Network(LosesTheDevice(0, os.environ["LOSE_ONCE"]), preprocess=Preprocess(size=64))


def lost_at_white() -> Network:
    """Loses the device at a white image."""
    return Network(LosesTheDevice(2.2), preprocess=Preprocess(size=64))
