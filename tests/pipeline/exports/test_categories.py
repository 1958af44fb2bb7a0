"""A dataset's own words on the way out and on the way back in."""

from __future__ import annotations

import json
import shutil

import pytest

from pipeline.commands.export import export
from pipeline.commands.import_review import import_review
from pipeline.commands.quality import quality
from pipeline.commands.run import run
from pipeline.config.load import from_tree
from pipeline.config.sections import Config
from pipeline.exports.boxes import boxes_of
from pipeline.store.rundir import RunDir

FOLDERS = ("Class_5", "class 3", "empty", "strange")
"""The network calls the first two class 5 and class 3."""


@pytest.fixture(scope="module")
def own(tiny_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    pictures = sorted((tiny_data / "data" / "images").glob("bild ? é.png"))
    for name in FOLDERS:
        (root / "data" / name).mkdir(parents=True)
    for number, path in enumerate(pictures[:6]):
        shutil.copy(path, root / "data" / FOLDERS[(0, 0, 1, 1, 1, 3)[number]] / path.name)
    tree = {
        "data": {"format": "imagefolder", "root": str(root / "data")},
        "model": {"spec": "python:tests.stages.toys:tiny_network"},
        "explain": {"targets": ["label", "top1"]},
        "runtime": {"executor": "inline"},
    }
    run(from_tree(Config, tree, []), root / "run")
    return RunDir(root / "run")


def test_categories_are_the_folders_also_those_that_nothing_is_in(own, tmp_path):
    found = boxes_of(own, "cam")
    assert [info.name for info in found.classes] == list(FOLDERS)
    shown = [[label.class_index for label in one.labels] for one in found.images]
    assert shown == [[0], [0], [1], [1], [1], []], "the network does not know the last one"
    export(own.uri, "yolo", tmp_path / "yolo", images="none")
    assert "Class_5" in (tmp_path / "yolo" / "data.yaml").read_text()
    names = [info.name for info in own.classes()]
    assert "Class_5" not in names and "class 5" in names


def test_corrections_come_back_in_the_same_words(own, tmp_path):
    export(own.uri, "labelstudio", tmp_path / "out", images="none")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    for task in tasks:
        result = [dict(region) for one in task["predictions"] for region in one["result"]]
        task["annotations"] = [{"result": result, "was_cancelled": False}]
    region = tasks[0]["annotations"][0]["result"][0]
    region["value"]["rectanglelabels"] = ["empty"]
    path = tmp_path / "back.json"
    path.write_text(json.dumps(tasks))
    found = import_review(own, path)
    assert (found["reviewed"], found["changed"]) == (6, 1)
    labels = [[found.class_index for found in one.labels] for one in boxes_of(own, "cam").images]
    assert labels[:5] == [[2], [0], [], [1], [1]], "the third has no box, which was accepted"
    # Boxes that were accepted are right, one of another class is wrong.
    judged = quality(own)["judged"]
    assert judged["right"]["n"] == 4 and judged["right"]["value"] == pytest.approx(0.75)
