"""What each format's files say of four images, and that our readers read them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from defusedxml import ElementTree as ET

from stages.formats import read_dataset
from stages.formats.table import writable
from stages.ingest.sizes import fill_sizes
from tests.stages.formats.exported import CLASSES, IMAGES, write, written

BOXES = {image.image_id: [tuple(map(float, one.box)) for one in labels] for image, labels in IMAGES}
NAMES = [info.name for info in CLASSES]


@pytest.mark.parametrize("format", writable())
def test_equal_labels_give_equal_bytes_without_dates(format: str) -> None:
    first = written(format)
    assert first == written(format) and first
    assert not any(b"20%d" % year in content for content in first.values() for year in range(24, 40))


def test_coco_is_read_again(tmp_path: Path) -> None:
    data = fill_sizes(read_dataset("coco", str(write(tmp_path, "coco"))))
    assert not any("left out" in note or "dropped" in note or "clipped" in note for note in data.notes)
    assert [info.name for info in data.classes] == NAMES
    assert {one.image_id: [tuple(box) for box in one.boxes.tolist()] for one in data.records} == BOXES
    assert [(one.width, one.height) for one in data.records] == [(40, 30), (33, 21), (30, 40), (16, 16)]
    scores = [one["score"] for one in json.loads(written("coco")["annotations.json"])["annotations"]]
    assert scores == [0.9, 0.25, 0.5, 0.75]


def test_coco_results() -> None:
    files = written("coco-results")
    entries = json.loads(files["results.json"])
    assert [(one["image_id"], one["category_id"], one["score"]) for one in entries] == [
        (1, 1, 0.9),
        (1, 2, 0.25),
        (2, 3, 0.5),
        (3, 2, 0.75),
    ]
    assert entries[0]["bbox"] == [4, 3, 16, 12] and files["classes.txt"].decode().splitlines() == NAMES


def test_voc_counts_pixels_from_one_and_cuts_nothing_off() -> None:
    files = written("voc")
    found = {}
    for name, content in files.items():
        if name.endswith(".xml"):
            root = ET.fromstring(content)
            found[name] = [
                (
                    one.findtext("name"),
                    [int(one.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")],
                )
                for one in root.iter("object")
            ]
    assert found == {
        "Annotations/sub/été 1.xml": [("ant", [5, 4, 20, 15]), ("bee & wasp", [1, 1, 40, 30])],
        "Annotations/b.v1.xml": [("crow's nest <b>", [1, 1, 11, 10])],
        "Annotations/turned.xml": [("bee & wasp", [11, 21, 30, 40])],
        "Annotations/none.xml": [],
    }
    root = ET.fromstring(files["Annotations/sub/été 1.xml"])
    assert (root.findtext("folder"), root.findtext("filename")) == ("sub", "été 1.jpg")
    assert files["ImageSets/Main/default.txt"].decode().splitlines() == ["sub/été 1", "b.v1", "turned", "none"]
    assert [line.partition(":")[0] for line in files["labelmap.txt"].decode().splitlines()[1:]] == NAMES


def test_yolo_has_five_columns_within_the_image_and_scores_apart() -> None:
    files = written("yolo")
    assert files["labels/train/none.txt"] == b"" and "labels_conf/train/none.txt" not in files
    for image, labels in IMAGES:
        path = Path(image.file_name).with_suffix(".txt")
        lines = [line.split() for line in files[f"labels/train/{path}"].decode().splitlines()]
        assert [int(line[0]) for line in lines] == [one.class_index for one in labels]
        for line, one in zip(lines, labels, strict=True):
            x, y, w, h = map(float, line[1:])
            sides = (x - w / 2) * image.width, (y - h / 2) * image.height, (x + w / 2) * image.width
            assert [*sides, (y + h / 2) * image.height] == pytest.approx(one.box, abs=1e-4)
        scored = files.get(f"labels_conf/train/{path}", b"").decode().splitlines()
        assert [float(line.split()[5]) for line in scored] == [one.score for one in labels]
    tree = yaml.safe_load(files["data.yaml"])
    assert tree == {"train": "images/train", "val": "images/train", "names": dict(enumerate(NAMES))}
    assert yaml.safe_load(written("yolo", name="val")["data.yaml"])["val"] == "images/val"


def test_cvat_names_images_and_declares_the_score() -> None:
    root = ET.fromstring(written("cvat")["annotations.xml"])
    assert [one.findtext("name") for one in root.iter("label")] == NAMES
    assert {one.findtext("attributes/attribute/name") for one in root.iter("label")} == {"score"}
    found = {
        image.get("name"): [tuple(float(box.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")) for box in image]
        for image in root.iter("image")
    }
    assert found == {image.file_name: BOXES[image.image_id] for image, _ in IMAGES}
    assert [float(one.text) for one in root.iter("attribute") if one.text and one.get("name")] == [0.9, 0.25, 0.5, 0.75]


def test_hugging_face_has_a_row_for_every_image() -> None:
    rows = pq.read_table(io.BytesIO(written("hf")["train/metadata.parquet"])).to_pylist()
    assert [row["file_name"] for row in rows] == [image.file_name for image, _ in IMAGES]
    assert rows[3]["objects"] == {"bbox": [], "category": [], "name": [], "score": []}
    assert rows[0]["objects"]["bbox"] == [[4, 3, 16, 12], [0, 0, 40, 30]] and rows[0]["objects"]["category"] == [0, 1]


def test_fiftyone_has_shares_by_the_name_without_its_extension() -> None:
    document = json.loads(written("fiftyone")["labels.json"])
    assert document["classes"] == NAMES and list(document["labels"]) == ["sub/été 1", "b.v1", "turned", "none"]
    (one,) = document["labels"]["turned"]
    assert one["label"] == "bee & wasp" and one["confidence"] == 0.75
    assert one["bounding_box"] == pytest.approx([1 / 3, 0.5, 2 / 3, 0.5]) and document["labels"]["none"] == []


def test_label_studio_has_percents_and_the_way_back() -> None:
    files = written("labelstudio")
    tasks = json.loads(files["tasks.json"])
    assert [one["data"]["image_id"] for one in tasks] == [1, 2, 3, 4] and tasks[3]["predictions"] == []
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=images/sub/%C3%A9t%C3%A9%201.jpg"
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.25  # the most doubtful box of the image
    region = prediction["result"][0]
    assert region["value"] == {"x": 10, "y": 10, "width": 40, "height": 40, "rotation": 0, "rectanglelabels": ["ant"]}
    ids = [region["id"] for one in tasks for prediction in one["predictions"] for region in prediction["result"]]
    assert len(set(ids)) == 4
    interface = ET.fromstring(files["label_config.xml"])
    assert [one.get("value") for one in interface.iter("Label")] == NAMES
    assert {region["from_name"], region["to_name"]} == {interface[0].get("name"), interface[1].get("name")}


def test_a_table_has_a_row_for_each_box_and_each_image_without() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv")["labels.csv"].decode(), newline="")))
    assert [(row["file_name"], row["label"], row["score"]) for row in rows] == [
        ("sub/été 1.jpg", "ant", "0.9"),
        ("sub/été 1.jpg", "bee & wasp", "0.25"),
        ("b.v1.jpg", "crow's nest <b>", "0.5"),
        ("turned.jpg", "bee & wasp", "0.75"),
        ("none.jpg", "", ""),
    ]
    assert [float(rows[2][side]) for side in ("x0", "y0", "x1", "y1")] == [0.5, 0.25, 10.75, 9.5]


def test_parts_are_named_in_each_format_s_way() -> None:
    assert list(written("coco", name="val")) == ["annotations/instances_val.json"]
    assert "ImageSets/Main/val.txt" in written("voc", name="val")
    assert list(written("cvat", name="val")) == ["val.xml"]
    assert "val/metadata.parquet" in written("hf", name="val") and "val/labels.json" in written("fiftyone", name="val")
    assert "tasks-val.json" in written("labelstudio", name="val")
