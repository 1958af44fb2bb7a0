"""A run's boxes as a dataset: the whole command."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.export import export
from pipeline.commands.run import run
from stages.errors import ConfigurationError, DataError, OutputError
from stages.formats import read_dataset
from stages.formats.table import FORMATS, writable
from tests.runs import BROKEN, COUNT, wsl_here


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "run"
    run(tiny(), out)
    return out


def label_boxes(out: Path, method: str) -> dict[int, list[float]]:
    rows = pq.read_table(sorted((out / "predictions").iterdir()), schema=None).to_pylist()
    own = [row for row in rows if row["method"] == method and row["target_rank"] == 0]
    return {row["image_id"]: row["box"] for row in own if row["box"][2] - row["box"][0] >= 1}


@pytest.mark.parametrize("method", [None, "gradcam"])
def test_the_boxes_are_those_of_the_labels(finished, tmp_path, method):
    found = export(finished, "coco", tmp_path / "out", method=method)
    data = read_dataset("coco", str(tmp_path / "out"))
    expected = label_boxes(finished, method or "cam")
    kept = {one.image_id: one for one in data.records}
    assert set(kept) == set(range(1, COUNT + 1)) - {BROKEN} and 5 < len(expected) < len(kept)
    assert [info.name for info in data.classes] == [f"class {index}" for index in range(7)]
    for number, record in kept.items():
        assert record.label == (number % 7 if number in expected else -1) and Path(record.uri).is_file()
        np.testing.assert_allclose(record.boxes.ravel(), expected.get(number, []), atol=0.02)
    assert found["boxes"] == len(expected) and "1 images failed in the run: left out" in found["notes"]
    assert f"{len(kept) - len(expected)} images have no box" in found["notes"]
    readme = (tmp_path / "out" / "README.txt").read_text()
    assert FORMATS["coco"].loses in readme and "not reviewed by a person" in readme and found["notes"][0] in readme


@pytest.mark.parametrize(
    "format", [one if one in ("hf", "voc") else pytest.param(one, marks=pytest.mark.slow) for one in writable()]
)
def test_every_format_is_whole_and_the_same_again(finished, tmp_path, format):
    for name in ("a", "b"):
        export(finished, format, tmp_path / name, split="train=0.75,val=0.25", limit=9)
    first, second = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("a", "b")
    )
    assert first == second and "README.txt" in first
    pictures = [name for name in first if name.endswith(".png")]
    assert len(pictures) == (0 if format == "coco-results" else 9)


def test_boxes_of_improbable_classes_are_left_out_and_their_images_stay(finished, tmp_path):
    boxed = label_boxes(finished, "cam")
    rows = pq.read_table(sorted((finished / "predictions").iterdir()), schema=None).to_pylist()
    own = [row for row in rows if row["method"] == "cam" and row["target_rank"] == 0 and row["image_id"] in boxed]
    probs = sorted(row["prob"] for row in own)
    found = export(finished, "yolo", tmp_path / "out", min_score=probs[2])
    assert found["boxes"] == len(boxed) - 2 and found["images"] == COUNT - 1
    assert any(note.startswith("2 boxes are of classes less probable than") for note in found["notes"])
    texts = [path.read_text() for path in (tmp_path / "out" / "labels" / "train").rglob("*.txt")]
    assert len(texts) == COUNT - 1 and sum(bool(text) for text in texts) == len(boxed) - 2


def test_doubtful_boxes_come_first_and_bad_ones_can_be_left_out(finished, tmp_path):
    export(finished, "csv", tmp_path / "all", order="doubtful", images="none")
    with (tmp_path / "all" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    qualities = [float(row["quality"]) for row in rows if row["quality"]]
    boxless = len(rows) - len(qualities)
    assert qualities == sorted(qualities) and len(set(qualities)) > 5
    assert [bool(row["quality"]) for row in rows] == [False] * boxless + [True] * len(qualities)
    found = export(finished, "csv", tmp_path / "good", min_quality=qualities[2], images="none")
    assert found["boxes"] == len(qualities) - 2 and found["images"] == len(rows)
    assert any(note.startswith("2 boxes are of a quality below") for note in found["notes"])
    export(finished, "labelstudio", tmp_path / "queue", order="doubtful", limit=boxless + 2, images="none")
    tasks = json.loads((tmp_path / "queue" / "tasks.json").read_text())
    assert [len(task["predictions"]) for task in tasks] == [0] * boxless + [1, 1]
    scores = [task["predictions"][0]["score"] for task in tasks[boxless:]]
    assert scores == pytest.approx(qualities[:2], abs=1e-6)


def test_without_labels_the_first_prediction_is_the_label(tiny, tiny_data, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for image in sorted((tiny_data / "data" / "images").iterdir())[:5]:
        shutil.copy(image, flat)
    run(tiny("data.format=imagefolder", f"data.root={flat}"), tmp_path / "run")
    found = export(tmp_path / "run", "csv", tmp_path / "out", images="none")
    assert 0 < found["boxes"] <= found["images"]
    assert found["notes"][0] == "boxes by cam, of the first prediction, since no image has a label"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "voc2"}, "--format: unknown format 'voc2'; did you mean voc"),
        ({"method": "gradcamm"}, "--method: unknown method 'gradcamm'; did you mean gradcam"),
        ({"images": "links"}, "--images: unknown way 'links'; did you mean link"),
        ({"order": "doubt"}, "--order: unknown order 'doubt'; did you mean doubtful"),
        ({"limit": -1}, "--limit: -1 is no number of images"),
        ({"min_score": float("nan")}, "--min-score: nan is not in 0 to 1"),
        ({"min_quality": 7.0}, "--min-quality: 7 is not in 0 to 1"),
        ({"split": ""}, "--split: '' is no part; write train=0.8,val=0.2"),
        ({"split": "train=0.5,Train=0.5"}, "--split: 'Train=0.5' is no part"),
        ({"dest": "/"}, "--dest: / is not empty"),
        ({"split": "train=0.5"}, "--split: the parts of train=0.5 add up to 0.5, not to 1"),
        ({"dest": "s3://bucket/x"}, "--dest: s3://bucket/x is not on this machine"),
    ],
)
def test_mistakes_in_one_line(finished, tmp_path, options, message):
    chosen = {"format": "voc", "dest": str(tmp_path / "out"), **options}
    with pytest.raises(ConfigurationError) as caught:
        export(finished, chosen.pop("format"), chosen.pop("dest"), **chosen)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_nothing_half_written_is_left(finished, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(ConfigurationError, match=r"--dest: .*full is not empty"):
        export(finished, "coco", tmp_path / "full")
    with pytest.raises(OutputError, match="cannot write"):
        export(finished, "coco", "/proc/none/out")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_run_that_is_not_complete_is_not_exported(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copy / "_SUCCESS").unlink()
    with pytest.raises(DataError, match="is not complete; run its command again"):
        export(copy, "coco", tmp_path / "out")


def test_the_command_says_what_it_wrote(finished, tmp_path):
    found = wsl_here("export", finished, "--format", "voc", "--dest", tmp_path / "out", "--flatten", "--json")
    assert found.returncode == 0 and json.loads(found.stdout)["images"] == COUNT - 1
    names = (tmp_path / "out" / "mapping.csv").read_text().splitlines()
    assert names[0] == "exported,file_name" and len(names) == COUNT
    assert names[1].startswith("images__bild 1 é.png,images/bild 1 é.png")
    assert wsl_here("export", finished, "--dest", tmp_path / "x").returncode == 2
