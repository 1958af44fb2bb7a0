"""The one flow type of the pipeline, and the contract of the stages that transform it.

A batch is a dict of columns with one leading length. A column is a numpy array; values whose shape differs from
row to row (ground-truth boxes, maps, strings) are an object array, one entry per row.

A stage whose only result is a batch returns a batch, and works with ``ray.data.Dataset.map_batches`` as it
stands. One that rejects images, or has other results, returns an :class:`Answer`;
:func:`pipeline.engine.plan.process` takes batches through any of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Batch = dict[str, Any]


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage occupies while it runs.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs; a fraction lets several workers share one. 0 runs anywhere.
    """

    cpus: float = 1
    gpus: float = 0


@dataclass(frozen=True)
class ImageError:
    """Why one image left the run. It becomes a row of ``errors/``.

    Attributes:
        stage: Name of the stage that failed, such as ``decode``.
        code: Stable CamelCase identifier that users filter by, such as ``Truncated``.
        message: One readable line: what is wrong and how to fix it.
        attempts: Number of times that the image was tried.
    """

    stage: str
    code: str
    message: str
    attempts: int = 1


Failure = tuple[int, str, ImageError]
"""An image that failed: its id, its uri and why."""


@dataclass(frozen=True)
class Answer:
    """The result of a stage, where a batch alone is not enough.

    Attributes:
        rows: The batch.
        errors: Why an image leaves the run with all its rows, by row of the batch.
        seconds: Time that parts of the stage took, by name.
        context: Values other than columns, by name, for later stages: each that lists the name among its
            ``reads`` gets the value as an argument of that name. It belongs to the batch as the stage saw it
            and stays whole when rows are removed, so a column must say which part of it belongs to which row.
    """

    rows: Batch
    errors: dict[int, ImageError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """A step from batch to batch.

    A stage never raises because of one image: it lists the image's row in the ``errors`` of its
    :class:`Answer`, and the caller removes the image before the next stage.
    """

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns and context that the stage needs."""

    @property
    def adds(self) -> tuple[str, ...]:
        """Columns and context that the stage adds to those that it read."""

    @property
    def resources(self) -> Resources:
        """Resources that one worker of the stage occupies."""

    def setup(self) -> None:
        """Prepare a worker process, once: load weights, for example."""

    def __call__(self, batch: Batch, *args: Any, **context: Any) -> Batch | Answer:
        """Transform one batch. Only a stage that reads context has arguments for it."""


def ragged(values: Iterable[Any]) -> np.ndarray:
    """Put values of any shape into one object array, one per row.

    >>> ragged([np.zeros((2, 4)), np.zeros((2, 4))]).shape
    (2,)
    """
    items = list(values)
    column = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        column[row] = item
    return column


def length(batch: Batch) -> int:
    """Number of rows of a batch; 0 for an empty dict."""
    return len(next(iter(batch.values()))) if batch else 0


def take(batch: Batch, rows: np.ndarray | slice) -> Batch:
    """The rows that an index array, a boolean mask or a slice picks, in that order."""
    return {name: column[rows] for name, column in batch.items()}


def concat(batches: list[Batch]) -> Batch:
    """Batches of equal columns, one after another.

    Raises:
        KeyError: A batch lacks a column of the first one.
    """
    if not batches:
        return {}
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
