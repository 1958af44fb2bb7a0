"""Training of a head on stored features, which goes on after an interruption as if there had been none.

Nothing random is carried from epoch to epoch: the order of the images and the units that dropout leaves out follow from
the seed and the number of the epoch.
"""

from __future__ import annotations

import copy
import hashlib
import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.errors import ConfigurationError
from stages.train.splits import TRAIN, VALIDATION
from stages.train.tasks import Task, Tensors

THREADS = 2
"""Threads of the training: sums, and so weights, depend on their number."""
_EVALUATED = 256
_DIGEST = hashlib.sha256().digest_size

Curve = tuple[int, str, str, float, float]
"""A value of a curve: epoch, from 1 on, split, metric, value, and the seconds of the pass."""


@dataclass(frozen=True)
class Examples:
    """Images as the head sees them.

    Attributes:
        features: (n, K, h, w) float32.
        targets: What the head shall give for them, as its task has it; each (n, ...).
    """

    features: Tensor
    targets: Tensors

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, rows: Tensor) -> Examples:
        """Those at (m,) places."""
        return Examples(self.features[rows], {name: values[rows] for name, values in self.targets.items()})


@dataclass(frozen=True)
class Settings:
    """How a head is trained.

    Attributes:
        epochs: Most passes over the images.
        patience: Passes without a lower validation loss after which the training ends.
        batch_size: Images a step.
        learning_rate: Learning rate of AdamW (Loshchilov & Hutter 2019).
        weight_decay: Its weight decay.
        seed: Seed of the order of the images, of dropout and of what is mirrored.
        flip: Whether half of the images, others in every epoch, are mirrored: their maps, which those of mirrored
            images resemble.
    """

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    flip: bool = False


@dataclass
class State:
    """A training after some epochs.

    Attributes:
        epoch: Number of epochs that are done.
        head: The head's tensors.
        optimizer: The optimizer's state.
        best: Number of the epoch with the lowest validation loss; 0 before the first.
        curves: All values so far.
    """

    epoch: int
    head: dict[str, Tensor]
    optimizer: dict[str, Any]
    best: int = 0
    curves: list[Curve] = field(default_factory=list)

    def to_bytes(self, origin: str) -> bytes:
        """The state as a file: a SHA-256, and behind it what PyTorch reads with ``weights_only``.

        Args:
            origin: What tells this training from others.
        """
        sink = io.BytesIO()
        torch.save({"origin": origin, **self.__dict__, "curves": [list(one) for one in self.curves]}, sink)
        data = sink.getvalue()
        return hashlib.sha256(data).digest() + data

    @classmethod
    def of_bytes(cls, data: bytes) -> tuple[str, State]:
        """What :meth:`to_bytes` was given, and the state.

        Raises:
            ValueError: It is damaged.
        """
        digest, data = data[:_DIGEST], data[_DIGEST:]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError("its bytes are not those that were written")
        try:
            content = torch.load(io.BytesIO(data), weights_only=True)
            origin = str(content.pop("origin"))
            content["curves"] = [tuple(one) for one in content["curves"]]
            return origin, cls(**content)
        except Exception as error:  # Bytes that are not a checkpoint may raise anything.
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def value(self, epoch: int, split: str, metric: str) -> float:
        """A value of a curve."""
        return next(value for *key, value, _ in self.curves if key == [epoch, split, metric])


def train_head(
    head: nn.Module,
    task: Task,
    train: Examples,
    validation: Examples,
    settings: Settings,
    state: State | None = None,
) -> Iterator[State]:
    """Train a head, and stop early where the validation loss no longer falls.

    On one kind of machine equal arguments give equal weights, wherever the training was interrupted.

    Args:
        head: Takes (N, K, h, w) maps; trained in place.
        task: What it learns.
        train: Images that are learnt from.
        validation: Images that decide when to stop.
        settings: How.
        state: Where to go on; the beginning where not given.

    Yields:
        The state after each epoch; that of the epoch ``best`` is the result.

    Raises:
        ConfigurationError: The loss is not finite; the message names the step.
    """
    optimizer = torch.optim.AdamW(
        head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, foreach=False
    )
    if state is not None:
        head.load_state_dict(state.head)
        optimizer.load_state_dict(state.optimizer)
    epoch, best, curves = (state.epoch, state.best, list(state.curves)) if state else (0, 0, [])
    lowest = state.value(best, VALIDATION, "loss") if state and best else math.inf
    with _threads(THREADS):
        while epoch < settings.epochs and epoch - best < settings.patience:
            epoch += 1
            began = time.perf_counter()
            found = _pass(head, task, optimizer, train, settings, epoch)
            curves.append((epoch, TRAIN, "loss", found, time.perf_counter() - began))
            began = time.perf_counter()
            measured = measure(head, task, validation)
            seconds = time.perf_counter() - began
            curves += [(epoch, VALIDATION, name, value, seconds) for name, value in measured.items()]
            if not math.isfinite(measured["loss"]):
                raise _not_finite(epoch, "validation")
            if measured["loss"] < lowest:
                lowest, best = measured["loss"], epoch
            yield State(epoch, copy.deepcopy(head.state_dict()), copy.deepcopy(optimizer.state_dict()), best, [*curves])


def measure(head: nn.Module, task: Task, examples: Examples) -> dict[str, float]:
    """The ``loss`` of a head on images, and the metrics of its task."""
    outputs = outputs_of(head, task, examples.features)
    return {"loss": float(task.loss(outputs, examples.targets)), **task.metrics(outputs, examples.targets)}


def outputs_of(head: nn.Module, task: Task, features: Tensor) -> Tensors:
    """What a head in eval mode gives for features (n, K, h, w)."""
    head.eval()
    whole = features.contiguous(memory_format=torch.channels_last)  # As in the network, to the last bit.
    with _threads(THREADS), torch.inference_mode():
        found = [task.outputs(head, part) for part in torch.split(whole, _EVALUATED)]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}


def _pass(
    head: nn.Module, task: Task, optimizer: torch.optim.Optimizer, train: Examples, settings: Settings, epoch: int
) -> float:
    """One pass over the images; returns the mean loss of its steps."""
    head.train()
    total, steps = 0.0, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, epoch))
        for rows in torch.split(torch.randperm(len(train)), settings.batch_size):
            part = train.rows(rows)
            part = _half_mirrored(part, task) if settings.flip else part
            loss = task.loss(task.outputs(head, part.features), part.targets)
            steps += 1
            if not math.isfinite(loss.item()):
                raise _not_finite(epoch, f"step {steps}")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item()
    return total / steps


def seed_of(seed: int, epoch: int) -> int:
    """A seed for PyTorch, of 63 bits, for each epoch of a training; 0 stands for its beginning."""
    drawn = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return int(drawn) >> 1


def _half_mirrored(examples: Examples, task: Task) -> Examples:
    """The same images, each mirrored or not, by chance."""
    chosen = torch.rand(len(examples)) < 0.5

    def where(mirrored: Tensor, plain: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (plain.ndim - 1)), mirrored, plain)

    turned = task.mirrored(examples.targets)
    targets = {name: where(turned[name], plain) for name, plain in examples.targets.items()}
    return Examples(where(examples.features.flip(3), examples.features), targets)


def _not_finite(epoch: int, where: str) -> ConfigurationError:
    message = f"the loss is not finite in epoch {epoch}, {where}; choose a lower one"
    return ConfigurationError(message, about="learning_rate")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
