"""Cues and quality of a run's boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.rundir import RunDir
from stages.errors import DataError, unknown
from stages.quality.cues import CUES, cues_of
from stages.quality.model import QualityModel, read_model, shipped

MODEL = "quality.json"
"""The file of a model that was fitted for a run."""

_OF_MAPS = ["method", "target_rank", "prob", "map", "map_scale", "map_h", "map_w"]


def quality_model(run: RunDir) -> QualityModel:
    """The model that was fitted for a run, or else the package's.

    Raises:
        DataError: Its file is damaged.
    """
    if not run.exists(MODEL):
        return shipped()
    return read_model(run.read(MODEL).decode(errors="replace"), run.where(MODEL))


def method_of(run: RunDir, method: str | None) -> str:
    """The method whose boxes are meant: the one named, or the run's first.

    Raises:
        ConfigurationError: The run has no such method.
        DataError: The run is not complete.
    """
    if not run.complete:
        raise DataError(f"{run} is not complete; run its command again, which goes on with it")
    methods = run.config().explain.methods
    method = methods[0] if method is None else method
    if method not in methods:
        raise unknown("method", method, methods, about="method")
    return method


def boxes_with_cues(run: RunDir, method: str, rank: int, columns: list[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """A method's rows of one rank, part by part, with the cues of their boxes.

    Args:
        run: The run.
        method: Entry of ``explain.methods``.
        rank: Rank of the target, 0 for the label.
        columns: Further columns of the rows.

    Yields:
        The rows, and their cues, (n, 6) float64, NaN where a row has no box.
    """
    protocol = run.recipe().protocol
    for part in run.predictions(list(dict.fromkeys([*columns, *_OF_MAPS]))):
        own = part.filter(pc.and_(pc.equal(part["method"], method), pc.equal(part["target_rank"], rank)))
        cues = np.full((own.num_rows, len(CUES)), np.nan)
        scales = own["map_scale"].to_numpy()
        shapes = zip(own["map_h"].to_pylist(), own["map_w"].to_pylist(), strict=True)
        for row, (map, shape, prob) in enumerate(zip(own["map"], shapes, own["prob"].to_pylist(), strict=True)):
            values = map.values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape) * scales[row]
            found = cues_of(values, prob, protocol)
            if found is not None:
                cues[row] = found
        yield own, cues
