"""The stages of a run, in order, grouped by the resources that they need."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.engine.allocator import keep_memory
from pipeline.engine.gpu import noticing_loss
from stages.batch import Answer, Batch, Failure, Resources, Stage, concat, length, ragged, take
from stages.errors import OutOfMemoryError, is_out_of_memory

MANIFEST_COLUMNS = ("image_id", "uri", "label", "width", "height", "boxes", "masks", "ignore", "others")


@dataclass
class Limit:
    """The largest batch that a process takes in one piece; lowered once one has not fitted in memory.

    Attributes:
        images: Number of its images; None before any has failed to fit.
    """

    images: int | None = None


@dataclass(frozen=True)
class Group:
    """Consecutive stages that run in the same worker.

    Attributes:
        stages: The stages, in order.
        resources: Resources of one worker.
        limit: The largest batch that its worker takes in one piece.
    """

    stages: list[Stage]
    resources: Resources
    limit: Limit = field(default_factory=Limit)

    def setup(self) -> None:
        """Prepare every stage; once per worker.

        Raises:
            DeviceLostError: The GPU fails.
        """
        keep_memory()
        with noticing_loss():
            for stage in self.stages:
                stage.setup()


@dataclass
class Outcome:
    """Result of a batch.

    Attributes:
        rows: The batch that the last stage returned; empty where no image was left.
        errors: (image_id, uri, error) of the images that stages took out.
        seconds: Seconds per stage.
        memory: Peak resident memory in MiB of each process that worked on it, by process name.
    """

    rows: Batch
    errors: list[Failure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        # Between processes, thousands of small maps are slow, and one large array is not.
        return {**self.__dict__, "rows": {name: _stacked(column) for name, column in self.rows.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rows = {name: ragged(one.of) if isinstance(one, _Stack) else one for name, one in state["rows"].items()}
        self.__dict__.update(state, rows=rows)


@dataclass(frozen=True)
class _Stack:
    """A column of arrays of one shape, as one array."""

    of: np.ndarray


def _stacked(column: np.ndarray) -> np.ndarray | _Stack:
    if column.dtype != object or not len(column) or not all(isinstance(one, np.ndarray) for one in column):
        return column
    one_form = len({(one.shape, one.dtype) for one in column}) == 1 and column[0].dtype != object
    return _Stack(np.stack(list(column))) if one_form else column


def plan(stages: list[Stage]) -> list[Group]:
    """Group consecutive stages by whether they need a GPU, after checking that each finds the columns it reads.

    Without a GPU everything is one group: a worker takes a shard from its bytes to its boxes, and no
    pixels travel between processes.

    Raises:
        ValueError: A stage reads a column that neither the manifest nor an earlier stage adds.
    """
    known = set(MANIFEST_COLUMNS)
    groups: list[Group] = []
    for stage in stages:
        missing = set(stage.reads) - known
        if missing:
            raise ValueError(f"{type(stage).__name__} reads {sorted(missing)}, which no stage before it adds")
        known |= set(stage.adds)
        if groups and groups[-1].resources.gpus == stage.resources.gpus:
            groups[-1].stages.append(stage)
        else:
            groups.append(Group([stage], stage.resources))
    return groups


def process(stages: list[Stage], batch: Batch, limit: Limit | None = None) -> Outcome:
    """Take one batch through stages; images that fail in a stage leave the batch after it.

    A batch that does not fit in memory is taken through all stages again in two halves, and later ones at once.

    Args:
        stages: Stages that are set up, see :meth:`Group.setup`.
        batch: Columns that the first stage reads, and ``image_id`` and ``uri``, which identify errors.
        limit: The largest batch to take in one piece; lowered where it does not fit.

    Raises:
        OutOfMemoryError: A half does not fit either.
        DeviceLostError: The GPU fails.
        ValueError: A stage returned something other than a batch.
    """
    with noticing_loss():
        return _process_whole_or_halved(stages, batch, limit or Limit())


def _process_whole_or_halved(stages: list[Stage], batch: Batch, limit: Limit) -> Outcome:
    count = length(batch)
    if limit.images is None or count <= limit.images:
        try:
            return _process(stages, batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    # Outside the handler: the error's traceback keeps alive what the stages have allocated.
    middle = (count + 1) // 2
    try:
        halves = [_process(stages, take(batch, part)) for part in (slice(middle), slice(middle, None)) if count > 1]
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        halves = []
    if not halves:
        raise OutOfMemoryError(
            f"runtime.batch_size: out of memory with {count} images, and with {middle}; "
            f"set it to {max(middle // 2, 1)} and choose another --out, or ask for fewer explain.methods"
        )
    limit.images = min(middle, limit.images or middle)
    rows = [half.rows for half in halves if length(half.rows)]
    errors = [error for half in halves for error in half.errors]
    return Outcome(concat(rows), errors, total(half.seconds for half in halves))


def _process(stages: list[Stage], batch: Batch) -> Outcome:
    outcome = Outcome(batch)
    context: dict[str, Any] = {}
    for number, stage in enumerate(stages, start=1):
        if not length(outcome.rows):
            return Outcome({}, outcome.errors, outcome.seconds)
        started = time.perf_counter()
        given = {name: value for name, value in context.items() if name in stage.reads}
        found = stage(dict(outcome.rows), **given)  # A copy, since a stage may remove columns.
        answer = found if isinstance(found, Answer) else Answer(found)
        outcome.seconds[type(stage).__name__.lower()] = time.perf_counter() - started
        outcome.seconds |= answer.seconds
        check_batch(answer.rows, type(stage).__name__)
        outcome.rows, failed = _taken_out(answer)
        outcome.errors += failed
        wanted = {name for later in stages[number:] for name in later.reads}
        # Columns that no later stage reads, such as a graph, are freed before the others run.
        context = {name: value for name, value in (context | answer.context).items() if name in wanted}
    return outcome


def check_batch(rows: Batch, source: str) -> None:
    """Check that columns are arrays of equal length.

    Args:
        rows: The alleged batch.
        source: Name of its origin, for the message.

    Raises:
        ValueError: It is not a batch.

    >>> check_batch({"image": np.zeros((2, 8, 8)), "score": np.zeros(3)}, "Score")
    Traceback (most recent call last):
    ValueError: Score gave no batch, which is arrays of one length: image 2, score 3
    """
    lengths = {
        name: str(len(column)) if isinstance(column, np.ndarray) and column.ndim else type(column).__name__
        for name, column in rows.items()
    }
    if len(set(lengths.values())) > 1 or not all(one.isdigit() for one in lengths.values()):
        listed = ", ".join(f"{name} {one}" for name, one in lengths.items())
        raise ValueError(f"{source} gave no batch, which is arrays of one length: {listed}")


def _taken_out(answer: Answer) -> tuple[Batch, list[Failure]]:
    """The rows of the remaining images, and the first error of each of the others."""
    if not answer.errors:
        return answer.rows, []
    rows, first = answer.rows, dict[int, Failure]()
    for row, error in sorted(answer.errors.items()):
        image = int(rows["image_id"][row])
        first.setdefault(image, (image, str(rows["uri"][row]), error))
    return take(rows, ~np.isin(rows["image_id"], list(first))), list(first.values())


def total(seconds: Iterable[dict[str, float]]) -> dict[str, float]:
    """Total seconds per stage."""
    result: dict[str, float] = defaultdict(float)
    for one in seconds:
        for stage, spent in one.items():
            result[stage] += spent
    return dict(result)
