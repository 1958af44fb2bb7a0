"""Conversion of a finished shard into the two tables that are committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from pipeline.store.schema import BOX, ERRORS, PREDICTIONS
from stages.batch import Batch, Failure

COUNTS_FORM = 5
"""Version of a part: of its seal and of the counts in its metadata. A change does not affect complete runs, whose
scores are written, but an unfinished run can continue only with the version that it began with."""

SEALED_FORM = 3
"""The first version whose parts are sealed, see :mod:`pipeline.store.seal`."""
RATED_FORM = 4
"""The first version whose predictions have the columns :data:`RATED`."""
AGREEING_FORM = 5
"""The first version whose quality counts the agreement of scales."""
BY_SCALE, FOREGROUND = "map_by_scale", "map_foreground"
"""Columns with several maps each."""
RATED = ("component", "quality", *(f"{name}{end}" for name in (BY_SCALE, FOREGROUND) for end in ("", "_sides")))

COUNTS = b"wsl_pipeline.counts"
FAITHFULNESS = b"wsl_pipeline.faithfulness"
"""Keys of a part's metadata for its metric counts; the second is present only where it was computed."""
MACHINE = b"wsl_pipeline.machine"
"""Key of a part's metadata for the kind of machine that ran the network, see
:func:`stages.classify.machine.machine_kind`; some versions of 0.4 and before did not record it."""


def prediction_table(rows: Batch, class_names: list[str], counts: str) -> pa.Table:
    """A shard's prediction rows as the stored table.

    Args:
        rows: The batch that the last stage returned; an empty dict where no image was left.
        class_names: Class names by network output.
        counts: The shard's metric counts, kept in the file's metadata.
    """
    schema = PREDICTIONS.with_metadata({**PREDICTIONS.metadata, COUNTS: counts.encode()})
    if not rows:
        return schema.empty_table()
    maps = rows["map"]
    names = np.array(class_names, dtype=object)[rows["class_index"]]
    iou = rows["iou"]
    columns = {
        "image_id": rows["image_id"],
        "method": pa.array(rows["method"], pa.string()),
        "target_rank": rows["target_rank"],
        "class_index": rows["class_index"],
        "class_name": pa.array(names.tolist(), pa.string()),
        "prob": rows["prob"],
        "box": pa.FixedSizeListArray.from_arrays(pa.array(rows["box"].reshape(-1)), type=BOX),
        "box_status": pa.array(rows["box_status"], pa.string()),
        "component": rows.get("component", np.zeros(len(iou), np.int8)),
        "quality": _with_nulls(rows.get("quality", np.full(len(iou), np.nan, np.float32))),
        "iou": _with_nulls(iou),
        "map": pa.array([one.reshape(-1) for one in maps], pa.list_(pa.float16())),
        "map_scale": rows["map_scale"],
        "map_h": np.array([one.shape[0] for one in maps], dtype=np.int16),
        "map_w": np.array([one.shape[1] for one in maps], dtype=np.int16),
    }
    for name in (BY_SCALE, FOREGROUND):
        columns |= _packed(name, rows.get(name, [()] * len(iou)))
    return pa.table(columns, schema=schema)


def _packed(name: str, column: Iterable[Sequence[np.ndarray]]) -> dict[str, pa.Array]:
    """Columns of the stored table for one of several maps a row."""
    several = list(column)
    nothing = np.zeros(0, np.float16)
    values = [np.concatenate([nothing, *(one.reshape(-1) for one in maps)]) for maps in several]
    sides = [[side for one in maps for side in one.shape] for maps in several]
    return {
        name: pa.array(values, pa.list_(pa.float16())),
        f"{name}_sides": pa.array(sides, pa.list_(pa.int16())),
    }


def unpacked(table: pa.Table, name: str) -> list[list[np.ndarray]]:
    """Maps of each row of a column of several, (h, w) float16."""
    flat, at = _flat(table[name])
    sides, of_row = _flat(table[f"{name}_sides"])
    found = []
    for start, first, last in zip(at.tolist(), of_row.tolist(), of_row[1:].tolist(), strict=False):
        maps = []
        for height, width in sides[first:last].reshape(-1, 2).tolist():
            maps.append(flat[start : start + height * width].reshape(height, width))
            start += height * width
        found.append(maps)
    return found


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """All values of a column of lists, and where each row begins and the last ends."""
    lists = column.combine_chunks()
    return lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_numpy()


def unpacked_maps(table: pa.Table) -> list[np.ndarray]:
    """The map of each row, (h, w) float16."""
    flat, at = _flat(table["map"])
    shapes = zip(at, at[1:], table["map_h"].to_pylist(), table["map_w"].to_pylist(), strict=False)
    return [flat[start:stop].reshape(height, width) for start, stop, height, width in shapes]


def _with_nulls(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float32(), mask=np.isnan(values))


def with_ratings(table: pa.Table, columns: list[str]) -> pa.Table:
    """A part of a version before :data:`RATED_FORM` with the columns that it lacks: one component, of no known quality.

    Args:
        table: The part's columns without those.
        columns: Names of the wanted columns.
    """
    nothing = {"component": pa.array(np.zeros(len(table), np.int8)), "quality": pa.nulls(len(table), pa.float32())}
    for name in RATED:
        if name in columns:
            kind = PREDICTIONS.field(name).type
            table = table.append_column(name, nothing[name] if name in nothing else pa.array([[]] * len(table), kind))
    return table.select(columns)


def error_table(errors: list[Failure]) -> pa.Table:
    """The images of a shard that ended without predictions, as the stored table."""
    return pa.table(
        {
            "image_id": [image_id for image_id, _, _ in errors],
            "uri": [uri for _, uri, _ in errors],
            "stage": [error.stage for _, _, error in errors],
            "error_code": [error.code for _, _, error in errors],
            "message": [error.message for _, _, error in errors],
            "attempts": [error.attempts for _, _, error in errors],
        },
        schema=ERRORS,
    )
