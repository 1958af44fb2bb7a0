"""A whole run over images with masks: from COCO's segmentation to PxAP, stored maps included."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from pipeline.config.load import load_config
from pipeline.store import schema
from tests.runs import COUNT, files


@pytest.fixture(scope="module")
def masked(tmp_path_factory, tiny_data):
    """The tiny run where every box has a mask: its left half; with an ignored region in every second image."""
    folder = tmp_path_factory.mktemp("masked")
    shutil.copytree(tiny_data / "data", folder / "data")
    path = folder / "data" / "annotations.json"
    content = json.loads(path.read_text())
    for annotation in list(content["annotations"]):
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w // 2, y, x + w // 2, y + h, x, y + h]]
        if annotation["id"] % 2:
            ignored = {"id": 100 + annotation["id"], "bbox": [x, y, w, h], "iscrowd": 1}
            content["annotations"].append(annotation | ignored | {"segmentation": []})
    path.write_text(json.dumps(content))
    config = load_config(str(tiny_data / "tiny.yaml"), [f"data.root={folder / 'data'}"])[1]
    return config, folder / "run", run(config, folder / "run")


def test_pixel_metrics_stand_beside_the_others(masked):
    _, out, metrics = masked
    for method in ("cam", "gradcam"):
        own = metrics["methods"][method]
        assert own["pxap"]["n"] == own["pointing_game"]["n"] == own["energy_pointing_game"]["n"] == COUNT - 1
        assert 0 < own["pxap"]["value"] < 1 and 0 < own["energy_pointing_game"]["value"] < 1
        low, high = own["pointing_game"]["ci95"]
        assert low <= own["pointing_game"]["value"] <= high
    page = (out / "report" / "index.html").read_text()
    assert "PxAP" in page and "Energy pointing game" in page


def test_masks_travel_in_the_manifest_and_in_the_ground_truth(masked, capsys):
    _, out, _ = masked
    assert pq.read_schema(out / "manifest.parquet") == schema.MASKED_MANIFEST
    truth = COCO(str(out / "coco" / "ground_truth.json"))
    manifest = pq.read_table(out / "manifest.parquet").to_pylist()
    assert len(truth.anns) == COUNT and sum(row["ignore"] is not None for row in manifest) == 12
    for annotation in truth.anns.values():
        x, y, w, h = (int(edge) for edge in annotation["bbox"])
        expected = np.zeros(annotation["segmentation"]["size"], np.uint8)
        expected[y : y + h, x : x + w // 2] = 1
        np.testing.assert_array_equal(truth.annToMask(annotation), expected)


@pytest.mark.slow
def test_how_it_is_carried_out_changes_no_byte(masked, tmp_path):
    config, out, metrics = masked
    other = config.model_copy(update={"runtime": config.runtime.model_copy(update={"workers": 3})})
    run(other, tmp_path / "again")
    assert files(tmp_path / "again") == files(out)
    assert relocalize(out, [], tmp_path / "same") == metrics


def test_datasets_without_masks_have_box_scores_and_no_pxap(tiny, tmp_path):
    own = run(tiny(), tmp_path / "run")["methods"]["cam"]
    assert "pxap" not in own and own["pointing_game"]["n"] == COUNT - 1
    assert pq.read_schema(tmp_path / "run" / "manifest.parquet") == schema.MANIFEST
