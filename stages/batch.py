"""The one flow type of the pipeline, and the contract of the stages that transform it.

A batch is a dict of columns with one leading length. A column is a numpy array; what has another
shape in every row (ground-truth boxes, maps, strings) is an object array, one entry a row.

A stage that has nothing more to say than a batch gives back a batch, and is a function for
``ray.data.Dataset.map_batches`` as it stands. One that gives images up, or has more to tell, gives an
:class:`Answer`; :func:`pipeline.engine.plan.process` takes batches through any of them.
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
        stage: Name of the stage that gave up, such as ``decode``.
        code: Stable CamelCase identifier that users filter by, such as ``Truncated``.
        message: One line for people: what is wrong and how to fix it.
        attempts: Times that the image was tried before it was given up.
    """

    stage: str
    code: str
    message: str
    attempts: int = 1


@dataclass(frozen=True)
class Answer:
    """What a stage gives back where a batch does not say it all.

    Attributes:
        rows: The batch.
        errors: By row of it, why its image leaves the run, with all its rows.
        seconds: What parts of the stage took, by name.
        context: What is not a column, by name, for the stages that come later: whichever of them lists the name
            among its ``reads`` is given it as an argument of that name. It belongs to the batch as the stage saw
            it and stays whole when rows are taken out, so a column must say what of it belongs to which row.
    """

    rows: Batch
    errors: dict[int, ImageError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """A step from batch to batch.

    A stage never raises because of one image: it lists the image's row in the ``errors`` of its
    :class:`Answer`, and whoever runs the stage takes the image out before the next one.
    """

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns and context that the stage needs."""

    @property
    def adds(self) -> tuple[str, ...]:
        """Columns and context that it leaves behind, in addition to those that it read."""

    @property
    def resources(self) -> Resources:
        """What one worker of it occupies."""

    def setup(self) -> None:
        """Do what is done once per worker process, such as loading weights."""

    def __call__(self, batch: Batch, *args: Any, **context: Any) -> Batch | Answer:
        """Transform one batch. Only a stage that reads context has arguments for it."""


def ragged(values: Iterable[Any]) -> np.ndarray:
    """Put values of any shape into one object array, one a row.

    >>> ragged([np.zeros((2, 4)), np.zeros((2, 4))]).shape
    (2,)
    """
    items = list(values)
    column = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        column[row] = item
    return column


def length(batch: Batch) -> int:
    """Number of rows. An empty dict has none."""
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
