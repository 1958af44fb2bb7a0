"""A run of any size without images or network: a manifest and parts of random boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from pipeline.config.load import load_config
from pipeline.config.recipe import NetworkFacts, Recipe
from pipeline.config.sections import Config
from pipeline.scores.finalize import finalize
from pipeline.store.manifest import ROW_GROUP, to_table
from pipeline.store.rundir import RunDir, encode
from pipeline.store.tables import error_table, prediction_table
from stages.batch import ragged
from stages.boxes.iou import iou
from stages.classes import ClassInfo
from stages.classify.network import Preprocess
from stages.evaluate.metrics import counts
from stages.ingest.records import ImageRecord

CLASSES = [ClassInfo(f"class {index}") for index in range(1000)]
DELTAS = (0.3, 0.5, 0.7)
SHARD = 1024


def _config() -> Config:
    return load_config("imagenet-val", ["data.root=/nowhere", "evaluate.sweep=false"])[1]


def write_synthetic(out: Path, images: int) -> None:
    """A run directory with all shards of ``images`` images committed: a label and five predictions each."""
    rng = np.random.default_rng(0)
    run = RunDir.open(out, _config())
    boxes = rng.uniform(0, 150, (images, 4)) + np.array([0, 0, 200, 200])
    labels = rng.integers(0, len(CLASSES), images)
    records = [
        ImageRecord(
            i + 1, f"file:///{i}.jpg", f"{i}.jpg", int(label), 400, 400, box[None].astype(np.float32), label[None]
        )
        for i, (label, box) in enumerate(zip(labels, boxes, strict=True))
    ]
    run.write("config.yaml", yaml.safe_dump(_config().model_dump()).encode())
    run.write_json("run.json", {"images": images, "shard_size": SHARD, "precision": "fp32"})
    run.write("manifest.parquet", encode(to_table(records), ROW_GROUP))
    for index, start in enumerate(range(0, images, SHARD)):
        own = slice(start, min(start + SHARD, images))
        count = own.stop - own.start
        found = np.repeat(boxes[own], 6, axis=0) + rng.normal(0, 20, (6 * count, 4))
        classes = rng.integers(0, len(CLASSES), (count, 6))
        classes[:, 0] = labels[own]
        classes[:, 1] = np.where(rng.random(count) < 0.7, labels[own], classes[:, 1])
        overlaps = iou(found, np.repeat(boxes[own], 6, axis=0)).astype(np.float32)
        rows = {
            "image_id": np.repeat(np.arange(own.start, own.stop) + 1, 6),
            "method": ragged(["cam"] * (6 * count)),
            "target_rank": np.tile(np.arange(6, dtype=np.int8), count),
            "class_index": classes.reshape(-1).astype(np.int32),
            "prob": rng.random(6 * count).astype(np.float32),
            "box": found.astype(np.float32),
            "box_status": ragged(["ok"] * (6 * count)),
            "iou": overlaps,
            "hits": overlaps[:, None] >= np.float32(DELTAS),
            "label": np.repeat(labels[own], 6),
            "width": np.full(6 * count, 400, np.int32),
            "height": np.full(6 * count, 400, np.int32),
            "boxes": ragged(np.repeat(boxes[own].astype(np.float32), 6, axis=0)[:, None]),
            "sweep_hits": ragged([None] * (6 * count)),
            "sweep_hits_v2": ragged([None] * (6 * count)),
            "map": ragged([np.zeros((7, 7), np.float16)] * (6 * count)),
            "map_scale": np.ones(6 * count, np.float32),
        }
        table = prediction_table(rows, [one.name for one in CLASSES], counts.update(rows).to_json())
        run.commit(index, table, error_table([]))


def finalize_synthetic(out: Path) -> None:
    """Write its metrics and COCO files."""
    facts = NetworkFacts("", Preprocess(size=224, crop_ratio=1.0))
    finalize(RunDir(out), Recipe.of(_config()).with_network(facts).with_classes(CLASSES), {})
