"""A complete run of many images with random maps, written without images or a network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from pipeline.config.history import config_hash
from pipeline.config.load import load_config
from pipeline.store.manifest import ROW_GROUP, cut_into_shards, to_table
from pipeline.store.rundir import RunDir, encode
from pipeline.store.tables import BY_SCALE, FOREGROUND, error_table, prediction_table
from stages.batch import Batch, ragged
from stages.classify.network import Preprocess
from stages.explain.several_scales import Combination, divided
from stages.ingest.records import ImageRecord

CLASSES = 1000
SIDES = 7, 10, 14
SHARD = 1024


def write_run(folder: Path, images: int, several_scales: bool = False) -> None:
    """One map an image, of its label: a bump somewhere on noise of both signs, and one or two boxes.

    Args:
        folder: Directory of the run.
        images: Number of images.
        several_scales: Whether the maps are those of foreground-cam at three scales, in place of one CAM of 7 x 7.
    """
    name, size = ("imagenet-val-best", 448) if several_scales else ("imagenet-val", 224)
    config = load_config(name, [f"data.root={folder}", f"model.size={size}", "explain.targets=[label]"])[1]
    run = RunDir.open(folder, config)
    rng = np.random.default_rng(0)
    records = []
    for image_id in range(1, images + 1):
        corners = np.sort(rng.integers(0, (500, 375), (1 + image_id % 2, 2, 2)), axis=1).reshape(-1, 4)
        records.append(
            ImageRecord(
                image_id=image_id,
                uri=f"/nowhere/{image_id}.jpg",
                file_name=f"{image_id}.jpg",
                label=image_id % CLASSES,
                width=500,
                height=375,
                boxes=np.add(corners, [0, 0, 1, 1]).astype(np.float32),
                box_labels=np.full(len(corners), image_id % CLASSES, np.int32),
            )
        )
    grid = np.arange(7)
    centre = rng.uniform(1, 5, (images, 2))
    distance = (grid - centre[:, :1, None]) ** 2 + (grid[:, None] - centre[:, 1:, None]) ** 2
    maps = np.exp(-distance / 4) + rng.normal(0, 0.2, (images, 7, 7))
    scales = np.abs(maps).max((1, 2))
    stored = (maps / scales[:, None, None]).astype(np.float16)
    names = [f"class {index}" for index in range(CLASSES)]
    info = {
        "config_hash": config_hash(config),
        "weights_sha256": "",
        "manifest_sha256": "",
        "images": images,
        "labelled": images,
        "boxes": sum(len(record.boxes) for record in records),
        "shard_size": SHARD,
        "precision": "fp32",
        "layer": "last",
        "preprocess": asdict(Preprocess()),
        "notes": [],
    }
    run.write_json("run.json", info)
    for shard in cut_into_shards(images, SHARD):
        rows = np.arange(shard.start, shard.stop)
        batch = {
            "image_id": rows + 1,
            "method": ragged(config.explain.methods * len(rows)),
            "target_rank": np.zeros(len(rows), np.int8),
            "class_index": ((rows + 1) % CLASSES).astype(np.int32),
            "prob": np.ones(len(rows), np.float32),
            "box": np.zeros((len(rows), 4), np.float32),
            "box_status": ragged(["ok"] * len(rows)),
            "iou": np.zeros(len(rows), np.float32),
            "map": ragged(stored[rows]),
            "map_scale": scales[rows].astype(np.float32),
        }
        if several_scales:
            batch |= _parts(stored[rows])
        run.commit(shard.index, prediction_table(batch, names, "{}"), error_table([]))
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(names)]
    run.write("config.yaml", json.dumps(config.model_dump()).encode())
    run.write("coco/ground_truth.json", json.dumps({"categories": categories}).encode())
    run.write("manifest.parquet", encode(to_table(records), ROW_GROUP))
    run.write("_SUCCESS", b"")


def _parts(maps: np.ndarray) -> Batch:
    """Columns of maps at three scales and of a foreground, made from maps at one."""
    by_scale = [[cv2.resize(one.astype(np.float32), (side, side)).astype(np.float16) for side in SIDES] for one in maps]
    foreground = [[np.abs(one[-1])] for one in by_scale]
    made = [divided(Combination()(*each)) for each in zip(foreground, by_scale, strict=True)]
    return {
        "map": ragged(map for map, _ in made),
        "map_scale": np.array([scale for _, scale in made]),
        BY_SCALE: ragged(by_scale),
        FOREGROUND: ragged(foreground),
    }
