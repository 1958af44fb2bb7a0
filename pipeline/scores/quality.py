"""Cues and quality of a run's boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.rundir import RunDir
from pipeline.store.tables import BY_SCALE, unpacked, unpacked_maps
from stages.errors import DataError, unknown
from stages.quality.cues import CUES, cues_of
from stages.quality.model import Models, QualityModel, read_models, shipped

MODEL = "quality.json"
"""The file of a model that was fitted for a run."""

_RATING = ["method", "target_rank", "quality"]
_OF_MAPS = [
    *(*_RATING, "component", "prob", "map", "map_scale", "map_h", "map_w"),
    *(BY_SCALE, f"{BY_SCALE}_sides"),
]


def quality_models(run: RunDir) -> Models:
    """The models that were fitted for a run, or else the package's.

    Raises:
        DataError: Their file is damaged.
    """
    if not run.exists(MODEL):
        return shipped()
    return read_models(run.read(MODEL).decode(errors="replace"), run.where(MODEL))


def quality_model(run: RunDir, method: str) -> QualityModel:
    """That of them which rates the boxes of a method."""
    return quality_models(run).of(_of_several_scales(run, method))


def _of_several_scales(run: RunDir, method: str) -> bool:
    sides = f"{BY_SCALE}_sides"
    for part in run.predictions(["method", sides]):
        own = part.filter(pc.field("method") == method)
        if own.num_rows:
            return len(own[sides][0]) > 2
    return False


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


def boxes_with_quality(
    run: RunDir, method: str, ranks: Sequence[int], columns: list[str]
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """A method's rows of some ranks, further components included, with the quality of their boxes.

    Args:
        run: The run.
        method: Entry of ``explain.methods``.
        ranks: Ranks of the targets, 0 for labels.
        columns: Columns of the rows.

    Yields:
        The rows, and their quality, (n,) float64, NaN where a row has no box.
    """
    if run.exists(MODEL) or not run.rated_by_scales:
        models = quality_models(run)
        for own, cues, share in boxes_with_cues(run, method, ranks, columns, every=True):
            yield own, models.quality(cues) * share
        return
    wanted = (pc.field("method") == method) & pc.field("target_rank").isin(list(ranks))
    for part in run.predictions(list(dict.fromkeys([*columns, *_RATING])), every=True):
        own = part.filter(wanted)
        yield own, own["quality"].to_numpy(zero_copy_only=False).astype(np.float64)


def boxes_with_cues(
    run: RunDir, method: str, ranks: Sequence[int], columns: list[str], every: bool = False
) -> Iterator[tuple[pa.Table, np.ndarray, np.ndarray]]:
    """A method's rows of some ranks, part by part, with the cues of their boxes.

    Args:
        run: The run.
        method: Entry of ``explain.methods``.
        ranks: Ranks of the targets, 0 for labels.
        columns: Further columns of the rows.
        every: Whether to give the rows of further components, too.

    Yields:
        The rows; the cues of their map's first box, (n, 7) float64, NaN where there is none; and (n,) float64 the share
        of that box's quality that each row's has: 1 for itself.
    """
    protocol = run.recipe().protocol
    for part in run.predictions(list(dict.fromkeys([*columns, *_OF_MAPS])), every):
        own = part.filter((pc.field("method") == method) & pc.field("target_rank").isin(list(ranks)))
        cues, share = np.full((own.num_rows, len(CUES)), np.nan), np.ones(own.num_rows)
        further = own["component"].to_numpy() > 0
        quality = own["quality"].to_numpy(zero_copy_only=False)
        maps = zip(unpacked_maps(own), own["map_scale"].to_numpy(), unpacked(own, BY_SCALE), strict=True)
        for row, ((map, scale, by_scale), prob) in enumerate(zip(maps, own["prob"].to_pylist(), strict=True)):
            if further[row]:
                cues[row], share[row] = cues[row - 1], share[row - 1] * quality[row] / quality[row - 1]
                continue
            found = cues_of(map.astype(np.float32) * scale, prob, protocol, by_scale)
            if found is not None:
                cues[row] = found
        yield own, cues, share
