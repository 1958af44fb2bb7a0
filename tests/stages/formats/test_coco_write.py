"""COCO ground truth and results, read back by pycocotools and by json."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from stages.classes import ClassInfo
from stages.formats.coco.write import ground_truth_text, results
from stages.formats.labels import labelled
from stages.ingest.records import ImageRecord

CLASSES = [ClassInfo("tench", "n01440764"), ClassInfo("goldfish", "n01443537"), ClassInfo("own")]


def ground_truth(images: list[ImageRecord], description: str = "") -> dict:
    return json.loads(b"".join(ground_truth_text(lambda: labelled(images, "coco"), CLASSES, description)))


def records() -> list[ImageRecord]:
    boxes = np.array([[0, 0, 10, 20], [1.234, 2.5, 3.456, 9.999]], np.float32)
    return [
        ImageRecord(3, "file:///x/a/é.jpg", "a/é.jpg", 1, 100, 50, boxes, np.array([1, 0], np.int32)),
        ImageRecord(8, "file:///x/b.jpg", "b.jpg", 0, 30, 40),
    ]


def rows() -> dict:
    return {
        "image_id": np.array([8, 3, 3, 3, 3, 3]),
        "target_rank": np.array([1, 0, 1, 2, 3, 4], np.int8),
        "class_index": np.array([0, 1, 2, 1, 0, 0], np.int32),
        "prob": np.array([0.1234567, 0.3, 0.3, 0.3, 0.2, 0.1], np.float32),
        "box": np.array(
            [[1, 2, 3.3333, 4], [9, 9, 10, 10], [0, 0, 5, 5], [0, 0, 6, 6], [0, 0, 0, 0], [0, 0, 7, 7]], np.float32
        ),
    }


def test_a_box_of_a_class_that_the_network_lacks_is_left_out() -> None:
    one = records()[0]
    unknown = ImageRecord(3, one.uri, one.file_name, 1, 100, 50, one.boxes, np.array([1, -1], np.int32))
    data = ground_truth([unknown])
    assert [annotation["category_id"] for annotation in data["annotations"]] == [2]


def test_ground_truth_follows_the_conventions() -> None:
    data = ground_truth(records(), "a test")
    assert [category["id"] for category in data["categories"]] == [1, 2, 3]
    assert data["categories"][1] == {"id": 2, "name": "goldfish", "supercategory": "", "wnid": "n01443537"}
    assert "wnid" not in data["categories"][2]
    assert data["images"][0] == {"id": 3, "file_name": "a/é.jpg", "width": 100, "height": 50}
    assert [image["id"] for image in data["images"]] == [3, 8]
    assert [annotation["id"] for annotation in data["annotations"]] == [1, 2]
    assert [annotation["category_id"] for annotation in data["annotations"]] == [2, 1]
    assert data["annotations"][1]["bbox"] == [1.23, 2.5, 2.22, 7.5]
    assert data["annotations"][0]["area"] == 200
    assert data["licenses"] == [] and data["info"] == {"description": "a test"}


def test_results_are_sorted_rounded_and_of_predictions_only() -> None:
    found = results(rows())
    assert found == [
        {"image_id": 3, "category_id": 2, "bbox": [0.0, 0.0, 6.0, 6.0], "score": 0.3},
        {"image_id": 3, "category_id": 3, "bbox": [0.0, 0.0, 5.0, 5.0], "score": 0.3},
        {"image_id": 3, "category_id": 1, "bbox": [0.0, 0.0, 7.0, 7.0], "score": 0.1},
        {"image_id": 8, "category_id": 1, "bbox": [1.0, 2.0, 2.33, 2.0], "score": 0.123457},
    ]
    assert found == json.loads(json.dumps(found))


def test_runs_of_the_label_alone_give_its_boxes() -> None:
    label = {name: column[1:2] for name, column in rows().items()}
    assert [entry["category_id"] for entry in results(label)] == [2]
    assert results({name: column[:0] for name, column in rows().items()}) == []


def test_pycocotools_reads_both(tmp_path: Path) -> None:
    for name, content in (("gt", ground_truth(records())), ("dt", results(rows()))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "gt.json"))
        found = truth.loadRes(str(tmp_path / "dt.json"))
    assert len(found.getAnnIds()) == 4 and truth.getImgIds() == [3, 8]
