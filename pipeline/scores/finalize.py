"""Computation of scores and COCO files from committed shards, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.recipe import FullRecipe
from pipeline.scores.tally import COLUMNS, Tally, light_rows
from pipeline.store.manifest import read_records
from pipeline.store.rundir import RunDir
from stages.batch import Batch, concat, take
from stages.boxes.protocols import fingerprint
from stages.errors import DataError
from stages.evaluate import baselines
from stages.evaluate.coco_ap import Boxes, box_average_precision
from stages.evaluate.faithfulness import counts as faithfulness
from stages.evaluate.label_order import label_order_warning
from stages.evaluate.metrics.contract import Scoring
from stages.evaluate.metrics.counts import compute
from stages.explain.targets import LABELS
from stages.formats.coco import write as coco
from stages.formats.labels import Labelled, labelled


def finalize(run: RunDir, recipe: FullRecipe, calibrated: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Write ``coco/`` and ``metrics.json`` of a run whose shards are all committed.

    Args:
        run: The run.
        recipe: The run's recipe.
        calibrated: The result of :func:`pipeline.scores.calibration.calibrated_thresholds`.

    Returns:
        The content of ``metrics.json``.

    Raises:
        DataError: An image is neither in the predictions nor in the errors, or appears twice.
    """
    ids, labels = _labels(run)
    methods, deltas, seed = recipe.methods, recipe.deltas, recipe.seed
    protocol, classes = recipe.protocol, list(recipe.network.classes)
    blind = baselines.Baselines(protocol, recipe.frame_side, deltas, seed, recipe.fit, recipe.crop_ratio)
    several = LABELS in recipe.config.explain.targets
    tally = Tally(run, methods, blind, several)
    for part in run.predictions(COLUMNS):
        tally.add(part, ids, labels)
    failed = [part["image_id"].to_numpy() for part in run.errors()]
    _check_complete(ids, np.concatenate([*tally.seen, *failed, ids[:0]]))

    run.stream(
        "coco/ground_truth.json",
        coco.ground_truth_text(lambda: _labelled(run, recipe.config.data.format), classes, recipe.config.data.format),
    )
    truth, boxed = _truth(run, ids, None if several else labels, recipe.excluded)
    scoring = Scoring(protocol, deltas, seed, boxed)
    metrics: dict[str, Any] = {
        "schema": 1,
        "protocol": protocol.name,
        "protocol_fingerprint": fingerprint(protocol),
        "n_images": len(ids),
        "n_failed": sum(map(len, failed)),
    }
    if classification := compute(tally.counts.classification, scoring):
        metrics["classification"] = classification
    metrics["methods"] = {}
    for position, method in enumerate(methods):
        counted = tally.counts.methods.get(method, {})
        own = compute(counted, replace(scoring, calibrated=calibrated.get(method, {})))
        found = _write_results(run, recipe, position, tally.ranked)
        if len(truth.image):
            own["coco"] = box_average_precision(truth, found.without(recipe.excluded))
        if method in tally.faithfulness:
            own["faithfulness"] = faithfulness.compute(tally.faithfulness[method], seed)
        own["box_status"] = dict(sorted(tally.statuses[method].items()))
        if method in recipe.network.same_map_as:
            own["same_map_as"] = recipe.network.same_map_as[method]
        metrics["methods"][method] = own
    if scored := baselines.compute(tally.baselines, scoring):
        metrics |= {"baselines": scored, "zero_line": baselines.zero_line(scored)}
    run.write_json("metrics.json", metrics)
    return metrics


def probe_labels(run: RunDir) -> list[str]:
    """Warnings about the order of the labels, from the shards committed so far."""
    ids, labels = _labels(run)
    found: list[Batch] = []
    for part in run.predictions(COLUMNS):
        rows = light_rows(part, part["method"][:1].to_pylist(), ids, labels)
        first = (rows["target_rank"] == 1) & (rows["label"] >= 0) & (rows["method"] == 0)
        found.append({name: rows[name][first] for name in ("label", "class_index", "prob")})
    rows = concat(found)
    warning = label_order_warning(rows["label"], rows["class_index"], rows["prob"]) if rows else None
    return [warning] if warning else []


def _labels(run: RunDir) -> tuple[np.ndarray, np.ndarray]:
    """Image ids of the manifest, ascending, and their labels."""
    manifest = pq.read_table(run.manifest, columns=["image_id", "label"])
    return manifest["image_id"].to_numpy(), manifest["label"].to_numpy()


def _truth(run: RunDir, ids: np.ndarray, labels: np.ndarray | None, excluded: np.ndarray) -> tuple[Boxes, int]:
    """Ground truth of the scored images as in the COCO file, and the number of images with a box of their label.

    Without labels, that of the pairs of an image and a class with boxes.
    """
    manifest = pq.read_table(run.manifest, columns=["boxes", "box_labels"])
    rows = np.repeat(np.arange(len(ids)), pc.list_value_length(manifest["boxes"]).to_numpy())
    box_labels = pc.list_flatten(manifest["box_labels"]).to_numpy()
    edges = pc.list_flatten(pc.list_flatten(manifest["boxes"])).to_numpy().reshape(-1, 4)
    known = (box_labels >= 0) & ~np.isin(ids[rows], excluded)
    scored = known if labels is None else known & (box_labels == labels[rows])
    boxed = np.unique(np.stack([rows, box_labels])[:, scored], axis=1)
    bbox = coco.xywh(edges[known])
    area = np.array([round(width * height, 2) for width, height in bbox[:, 2:].tolist()], np.float64)
    return Boxes(ids[rows[known]], box_labels[known] + 1, bbox, area=area), boxed.shape[1]


def _write_results(run: RunDir, recipe: FullRecipe, position: int, ranked: bool) -> Boxes:
    """Write a method's COCO results, ``predictions.json`` for the first method; returns the boxes as columns.

    The score is the probability of the class; where components compete, times the quality of the box.
    """
    methods, found = recipe.methods, [_columns([])]
    columns = ["image_id", "target_rank", "class_index", "prob", "quality"]

    def entries() -> Iterator[list[dict[str, Any]]]:
        for part in run.predictions([*columns, "method", "box"], every=True):
            part = part.filter(pc.field("method") == methods[position])
            rows: Batch = {name: part[name].to_numpy() for name in columns}
            rows["box"] = pc.list_flatten(part["box"]).to_numpy().reshape(-1, 4)
            if recipe.config.box.instances == "all":
                rows["prob"] = rows["prob"] * np.nan_to_num(rows["quality"])
            own = coco.results(take(rows, rows["target_rank"] >= 1 if ranked else rows["target_rank"] == 0))
            found.append(_columns(own))
            yield own

    # Layer names of a user's network need not be valid file names.
    name = f"predictions-{quote(methods[position], safe='@+')}" if position else "predictions"
    run.stream(f"coco/{name}.json", coco.json_list(entries()))
    return Boxes(**concat(found))


def _columns(entries: list[dict[str, Any]]) -> Batch:
    """Entries of a COCO results list as the columns of :class:`Boxes`."""
    return {
        "image": np.array([entry["image_id"] for entry in entries], np.int64),
        "category": np.array([entry["category_id"] for entry in entries], np.int32),
        "bbox": np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4),
        "score": np.array([entry["score"] for entry in entries], np.float64),
    }


def _labelled(run: RunDir, source: str) -> Iterator[Labelled]:
    """The images of the manifest with their labels in the dataset."""
    return labelled(chain.from_iterable(read_records(run.manifest)), source)


def _check_complete(manifest: np.ndarray, found: np.ndarray) -> None:
    """Check that every image ends exactly once, in the predictions or in the errors."""
    if np.array_equal(manifest, np.sort(found)):
        return
    unique, counts = np.unique(found, return_counts=True)
    lost, twice = np.setdiff1d(manifest, unique), unique[counts > 1]
    what = f"image {lost[0]} is missing" if len(lost) else f"image {[*twice, 'none'][0]} is there twice"
    raise DataError(
        f"the parts do not add up to the manifest: {what} ({len(lost)} missing, {len(twice)} twice); "
        "delete the part that holds it and run the same command again"
    )
