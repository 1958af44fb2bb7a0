"""Training of an image classifier from class labels alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def train_classifier(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 5e-3,
) -> list[float]:
    """Minimise the cross-entropy of the labels with AdamW under a one-cycle learning rate.

    Image-level labels are all the supervision there is. On one machine with the same number of threads,
    equal arguments give equal weights. The module is left in training mode.

    Args:
        module: Maps (N, C, H, W) float32 in [0, 1] to (N, classes) logits; trained in place.
        images: (n, C, H, W) uint8, n at least ``batch_size``.
        labels: (n,) int64.
        epochs: Passes over the images. The last images of a pass that fill no batch wait for the next one.
        seed: Of the order in which the images come.
        batch_size: Images a step.
        learning_rate: The highest of the cycle.

    Returns:
        The mean loss of each epoch.
    """
    module.train().to(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(seed)
    steps = len(images) // batch_size
    optimizer = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, epochs * steps, pct_start=0.2)
    means = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(images), generator=order), batch_size)[:steps]:
            loss = F.cross_entropy(module(images[rows].float() / 255), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        means.append(total / steps)
    return means
