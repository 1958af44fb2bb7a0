"""What a run has stored, as pandas tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.store.rundir import RunDir
from pipeline.store.schema import ERRORS, PREDICTIONS

_LIGHT = [name for name in PREDICTIONS.names if not name.startswith("map")]


class _Score(NamedTuple):
    """One number of ``metrics.json``."""

    method: str | None
    metric: str
    level: float
    value: float
    low: float
    high: float
    n: int | None
    threshold_from: str | None
    baseline: bool


def scores(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Every score of a ``metrics.json``, one a row.

    Args:
        metrics: What the file holds.

    Returns:
        Columns ``method`` (None for the network's classification), ``metric`` (its path in the file, joined by
        dots), ``level`` (of IoU, NaN without), ``value``, ``low`` and ``high`` (95 % interval, NaN without), ``n``,
        ``threshold_from`` (where one was chosen: ``oracle``, on these images, or ``calibration``, on others) and
        ``baseline``.
    """
    found = list(_walk(None, {"classification": metrics.get("classification", {})}, False))
    for group, baseline in (("methods", False), ("baselines", True)):
        for method, own in metrics.get(group, {}).items():
            found += _walk(method, own, baseline)
    table = pd.DataFrame(found, columns=_Score._fields)
    return table.astype({"level": float, "value": float, "low": float, "high": float, "n": "Int64", "baseline": bool})


def _walk(method: str | None, node: Mapping[str, Any], baseline: bool, path: tuple[str, ...] = ()) -> Iterator[_Score]:
    for name, entry in node.items():
        here = (*path, name)
        if isinstance(entry, Mapping) and "value" not in entry:
            yield from _walk(method, entry, baseline, here)
        elif isinstance(entry, Mapping):
            levelled = name.replace(".", "", 1).isdigit()
            metric, level = ".".join(path if levelled else here), float(name) if levelled else math.nan
            low, high = entry.get("ci95", (math.nan, math.nan))
            threshold_from = entry.get("threshold_from", "calibration" if "threshold" in entry else None)
            yield _Score(method, metric, level, entry["value"], low, high, entry.get("n"), threshold_from, baseline)
        elif path == ("coco",):  # The only scores without interval; other numbers are counts.
            yield _Score(method, ".".join(here), math.nan, entry, math.nan, math.nan, None, None, baseline)


def boxes(run: RunDir, method: str | None, rank: int | None) -> pd.DataFrame:
    """The committed boxes, see :meth:`pipeline.api.runs.Run.boxes`."""
    parts = [PREDICTIONS.empty_table().select(_LIGHT)]
    for part in run.predictions(_LIGHT):
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
    """What :func:`pipeline.commands.compare.compare` found, one metric of one pair a row."""
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
