"""From committed shards to scores and COCO files; reads every part once, in order."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.parts import COUNTS
from pipeline.rundir import RunDir
from stages.batch import Batch, concat, ragged
from stages.errors import DataError
from stages.evaluate import baselines, localization
from stages.evaluate.coco_ap import average_precision
from stages.evaluate.label_order import label_order_warning
from stages.evaluate.protocols import Protocol, fingerprint
from stages.export import coco
from stages.ingest.dataset import ClassInfo, ImageRecord

_COLUMNS = ["image_id", "method", "target_rank", "class_index", "prob", "box", "box_status"]
"""What metrics and COCO files read of the predictions: all but the maps."""


def finalize(run: RunDir, config: Config, protocol: Protocol, size: int, classes: list[ClassInfo]) -> dict[str, Any]:
    """Write ``coco/`` and ``metrics.json`` of a run whose shards are all committed.

    Args:
        run: The run.
        config: Its configuration.
        protocol: The rules that its boxes were made by.
        size: Side of the network's input.
        classes: By network output.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        DataError: An image is neither in the predictions nor in the errors, or is there twice.
    """
    manifest = pq.read_table(run.manifest)
    ids, labels = manifest["image_id"].to_numpy(), manifest["label"].to_numpy()
    deltas = tuple(config.evaluate.iou)
    seen: list[np.ndarray] = []
    counts = localization.Counts()
    results: dict[str, list[dict]] = defaultdict(list)
    statuses: dict[str, Counter[str]] = defaultdict(Counter)
    for part in run.predictions(_COLUMNS):
        rows = _rows(part, ids, labels)
        seen.append(np.unique(rows["image_id"]))
        counts = localization.merge(counts, localization.Counts.from_json(part.schema.metadata[COUNTS].decode()))
        for method in config.explain.methods:
            own = rows["method"] == method
            results[method] += coco.results({name: column[own] for name, column in rows.items()})
            statuses[method].update(rows["box_status"][own].tolist())
    failed = [part["image_id"].to_numpy() for part in run.errors()]
    _check_complete(ids, np.concatenate([*seen, *failed, ids[:0]]))

    records = [ImageRecord(**_record(row)) for row in manifest.to_pylist()]
    truth = coco.ground_truth(records, classes, description=config.data.format)
    _write_coco(run, truth, results)
    scores = localization.compute(counts, protocol, deltas, config.seed)
    metrics: dict[str, Any] = {
        "schema": 1,
        "protocol": protocol.name,
        "protocol_fingerprint": fingerprint(protocol),
        "n_images": len(ids),
        "n_failed": sum(map(len, failed)),
    }
    if scores["classification"]:
        metrics["classification"] = scores["classification"]
    metrics["methods"] = {}
    for method in config.explain.methods:
        own = scores["methods"].get(method, {})
        if truth["annotations"]:
            own["coco"] = average_precision(truth, results[method])
        metrics["methods"][method] = own | {"box_status": dict(sorted(statuses[method].items()))}
    if truth["annotations"]:
        metrics["baselines"] = _baselines(records, np.concatenate([*failed, ids[:0]]), config, protocol, size)
    run.write_json("metrics.json", metrics)
    return metrics


def probe_labels(run: RunDir) -> list[str]:
    """Warnings about the order of the labels, from what is committed so far."""
    manifest = pq.read_table(run.manifest, columns=["image_id", "label"])
    ids, labels = manifest["image_id"].to_numpy(), manifest["label"].to_numpy()
    found: list[Batch] = []
    for part in run.predictions(_COLUMNS):
        rows = _rows(part, ids, labels)
        first = (rows["target_rank"] == 1) & (rows["label"] >= 0) & (rows["method"] == rows["method"][:1])
        found.append({name: rows[name][first] for name in ("label", "class_index", "prob")})
    rows = concat(found)
    warning = label_order_warning(rows["label"], rows["class_index"], rows["prob"]) if rows else None
    return [warning] if warning else []


def _rows(part: pa.Table, ids: np.ndarray, labels: np.ndarray) -> Batch:
    """The columns that metrics read, with each image's label beside them."""
    rows: Batch = {name: part[name].to_numpy() for name in ("image_id", "target_rank", "class_index", "prob")}
    rows |= {name: ragged(part[name].to_pylist()) for name in ("method", "box_status")}
    rows["box"] = part["box"].combine_chunks().values.to_numpy().reshape(-1, 4) if part.num_rows else np.zeros((0, 4))
    rows["label"] = labels[np.searchsorted(ids, rows["image_id"])]
    return rows


def _record(row: dict[str, Any]) -> dict[str, Any]:
    row["boxes"] = np.array(row["boxes"], dtype=np.float32).reshape(-1, 4)
    row["box_labels"] = np.array(row["box_labels"], dtype=np.int32)
    return row


def _check_complete(manifest: np.ndarray, found: np.ndarray) -> None:
    """Every image ends exactly once: in the predictions or in the errors."""
    if np.array_equal(manifest, np.sort(found)):
        return
    unique, counts = np.unique(found, return_counts=True)
    lost, twice = np.setdiff1d(manifest, unique), unique[counts > 1]
    what = f"image {lost[0]} is missing" if len(lost) else f"image {[*twice, 'none'][0]} is there twice"
    raise DataError(
        f"the parts do not add up to the manifest: {what} ({len(lost)} missing, {len(twice)} twice); "
        "delete the part that holds it and run the same command again"
    )


def _write_coco(run: RunDir, truth: dict, results: dict[str, list[dict]]) -> None:
    """The ground truth and each method's results; the first method's are ``predictions.json``."""
    run.write("coco/ground_truth.json", _compact(truth))
    for position, (method, entries) in enumerate(results.items()):
        name = "predictions" if position == 0 else f"predictions-{method}"
        run.write(f"coco/{name}.json", _compact(entries))


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _baselines(
    records: list[ImageRecord], failed: np.ndarray, config: Config, protocol: Protocol, size: int
) -> dict[str, Any]:
    """The predictors that look at no pixel, on the images that the methods are scored on."""
    without = set(failed.tolist())
    scored = [one for one in records if one.label >= 0 and one.image_id not in without]
    boxes = ragged(one.boxes[one.box_labels == one.label] for one in scored)
    sizes = np.array([(one.width, one.height) for one in scored], dtype=np.int64).reshape(-1, 2)
    deltas = tuple(config.evaluate.iou)
    return {
        "full_image": baselines.full_image(sizes, boxes, protocol, size, deltas, config.seed),
        "center_gaussian": baselines.center_gaussian(sizes, boxes, protocol, size, deltas),
    }
