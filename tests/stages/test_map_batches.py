"""A stage is usable by itself in a user's own Ray Data pipeline, as the README shows it."""

from __future__ import annotations

import numpy as np
import pytest

import pipeline as wsl
from pipeline.engine.plan import process
from stages.boxes.protocols import get_protocol
from stages.boxes.threshold import Threshold
from stages.ingest.decode import Decode
from tests.runs import BROKEN


@pytest.mark.slow
def test_images_are_decoded_and_maps_cut_in_a_dataset(finished_runs, cluster):
    import ray.data

    run = wsl.load(finished_runs / "runs" / "tiny")
    images = run.images()[["image_id", "uri", "width", "height"]]
    decode = Decode(size=32, fit="squash", resample="bilinear", crop_ratio=1.0, fill=(0, 0, 0))
    # What a stage says of single images goes through whoever runs it: those that fail leave the batch.
    decoded = ray.data.from_pandas(images).map_batches(
        lambda batch: process([decode], batch).rows, batch_format="numpy", batch_size=8
    )
    rows = {row["image_id"]: row for row in decoded.take_all()}
    whole = decode({name: column.to_numpy() for name, column in images.items()}).rows
    assert set(rows) == set(images["image_id"]) - {BROKEN}
    for position, image_id in enumerate(images["image_id"]):
        assert image_id == BROKEN or np.array_equal(rows[image_id]["image"], whole["image"][position])

    boxes = run.boxes(method="cam", rank=0)
    maps = [{"image_id": one, "map": run.map(one, "cam", 0), "map_scale": 1.0} for one in boxes["image_id"]]
    protocol = get_protocol("cam2016")
    cut = ray.data.from_items(maps).map_batches(Threshold(protocol, size=32), batch_format="numpy", batch_size=5)
    statuses = {row["image_id"]: row["box_status"] for row in cut.take_all()}
    assert [statuses[one] for one in boxes["image_id"]] == boxes["box_status"].tolist()
