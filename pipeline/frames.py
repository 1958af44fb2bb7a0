"""The stored results of a run as pandas tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.scores.tidy import ScoreRow, tidy
from pipeline.store.rundir import RunDir
from pipeline.store.schema import ERRORS, PREDICTIONS

_LIGHT = [name for name in PREDICTIONS.names if not name.startswith("map")]


def scores(metrics: dict[str, Any]) -> pd.DataFrame:
    """Every score of a ``metrics.json``, one per row, with the columns of :class:`pipeline.scores.tidy.ScoreRow`."""
    table = pd.DataFrame(tidy(metrics), columns=ScoreRow._fields)
    return table.astype({"level": float, "value": float, "low": float, "high": float, "n": "Int64", "baseline": bool})


def boxes(run: RunDir, method: str | None, rank: int | None) -> pd.DataFrame:
    """The committed boxes, see :meth:`pipeline.api.runs.Run.boxes`."""
    parts = [PREDICTIONS.empty_table().select(_LIGHT)]
    for part in run.predictions(_LIGHT, every=True):
        for name, wanted in (("method", method), ("target_rank", rank)):
            part = part if wanted is None else part.filter(pc.field(name) == wanted)
        parts.append(part)
    table = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    edges = pc.list_flatten(table["box"]).to_numpy().reshape(-1, 4)
    frame = table.drop_columns("box").to_pandas()
    manifest = pq.read_table(run.manifest, columns=["image_id", "file_name"])
    rows = np.searchsorted(manifest["image_id"].to_numpy(), frame["image_id"])
    frame.insert(1, "file_name", manifest["file_name"].take(rows).to_pandas())
    for position, edge in enumerate(("x0", "y0", "x1", "y1")):
        frame.insert(frame.columns.get_loc("box_status"), edge, edges[:, position])
    return frame


def errors(run: RunDir) -> pd.DataFrame:
    """The images that failed, see :meth:`pipeline.api.runs.Run.errors`."""
    return pa.concat_tables([ERRORS.empty_table(), *run.errors()], promote_options="permissive").to_pandas()


def images(run: RunDir) -> pd.DataFrame:
    """The manifest, see :meth:`pipeline.api.runs.Run.images`."""
    frame = pq.read_table(run.manifest).to_pandas()
    frame["boxes"] = [np.array(list(own), np.float32).reshape(-1, 4) for own in frame["boxes"]]
    return frame


_DIFFERENCE = (
    *("a", "b", "metric", "level", "value_a", "value_b", "difference", "low", "high", "n", "mcnemar_p", "noise"),
)


def differences(found: Mapping[str, Any]) -> pd.DataFrame:
    """The result of :func:`pipeline.commands.compare.compare`, one row per pair and metric."""
    rows = []
    for pair in found["pairs"]:
        for metric, entry in pair["metrics"].items():
            for level, own in entry.items() if "a" not in entry else [(math.nan, entry)]:
                low, high = own["ci95"]
                rows.append(
                    {"a": pair["a"], "b": pair["b"], "metric": metric, "level": float(level)}
                    | {"value_a": own["a"], "value_b": own["b"], "difference": own["difference"]}
                    | {
                        "low": low,
                        "high": high,
                        "n": own["n"],
                        "mcnemar_p": own.get("mcnemar_p"),
                        "noise": own["noise"],
                    }
                )
    return pd.DataFrame(rows, columns=_DIFFERENCE).astype({"mcnemar_p": float, "n": int, "noise": bool})
