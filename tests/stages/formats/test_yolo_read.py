"""YOLO as people have it: where its images are, what its lines say, and what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.ingest.sizes import fill_sizes
from tests.stages.formats.exported import CLASSES, IMAGES, write


@pytest.fixture
def put(tmp_path):
    """Writes an image of 40 x 20 pixels and, where they are given, its lines."""

    def write(name, lines=None):
        path = tmp_path / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(path)
        if lines is not None:
            labels = tmp_path / f"{name.replace('images/', 'labels/')}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_bytes(lines.encode("utf-8-sig"))
        return tmp_path

    return write


def read(root, **options):
    return fill_sizes(read_dataset("yolo", str(root), **options))


def boxes(dataset):
    return {one.file_name: one.boxes.round(3).tolist() for one in dataset.records}


def test_what_was_exported_comes_back(tmp_path):
    data = read(write(tmp_path, "yolo"))
    assert [info.name for info in data.classes] == [info.name for info in CLASSES]
    found = {one.file_name.removeprefix("images/train/"): one for one in data.records}
    for image, labels in IMAGES:
        one = found[image.file_name]
        assert (one.width, one.height) == (image.width, image.height)
        order = np.lexsort((one.boxes[:, 0], one.box_labels))
        np.testing.assert_allclose(one.boxes[order], np.reshape([label.box for label in labels], (-1, 4)), atol=1e-3)
    assert found["sub/été 1.jpg"].label == 1, "the class with most area"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.5 0.5", [[10, 5, 30, 15]]),
        ("0 0.5 0.5 0.5 0.5 0.875", [[10, 5, 30, 15]]),
        ("0 0.25 0.25 0.75 0.25 0.75 0.5", [[10, 5, 30, 10]]),
        ("0 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5", [[10, 5, 30, 10]]),
        ("0.0 0.75 0.5 1.0 0.5", [[10, 5, 40, 15]]),
        ("0 0.5 0.5 0.5", []),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", [[4, 2, 12, 6]]),
        ("cat 0.5 0.5 0.5 0.5", []),
        ("0 0.5 0.5 -0.5 0.5", []),
        ("0 nan 0.5 0.5 0.5", []),
        ("-1 0.5 0.5 0.5 0.5", []),
        ("1 0.5 0.5 0.5 0.5", []),
        ("0 3 3 0.5 0.5", []),
    ],
)
def test_lines_are_boxes_and_polygons_with_and_without_a_confidence(put, tmp_path, line, expected):
    put("images/val/a", f"{line}\r\n\r\n")
    (tmp_path / "data.yaml").write_text("train: images/val\nval: images/val\nnames: [cat]\n")
    data = read(tmp_path)
    assert boxes(data) == {"images/val/a.jpg": expected}
    if not expected:
        assert any("left out" in note or "dropped" in note for note in data.notes)


def test_key_points_are_no_corners(put, tmp_path):
    put("images/val/a", "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 2\n0 0.25 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 1\n")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: [cat]\nkpt_shape: [2, 3]\n")
    assert boxes(read(tmp_path)) == {"images/val/a.jpg": [[10, 5, 30, 15], [0, 5, 20, 15]]}


def test_the_default_takes_the_part_that_is_there(put, tmp_path):
    put("images/train/a", "0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    data = read(tmp_path)
    assert boxes(data) == {"images/train/a.jpg": [[10, 5, 30, 15]]}
    assert f"no folder images/val with images under {tmp_path}" in data.notes
    assert "the images of train are taken; data.split takes val" in data.notes
    (tmp_path / "data.yaml").write_text("train: images/train\nval: gone.txt\nnames: [cat]\n")
    assert f"no list gone.txt under {tmp_path}" in read(tmp_path).notes
    (tmp_path / "data.yaml").write_text("train: images/gone\nval: images/val\nnames: [cat]\n")
    with pytest.raises(DataError, match="none of the images of images/val, images/gone is there"):
        read(tmp_path)


def test_lists_of_another_unicode_form(put, tmp_path):
    put("images/val/e\u0301", "0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("val: list.txt\nnames: [cat]\n")
    (tmp_path / "list.txt").write_text("images/val/\u00e9.jpg\n", encoding="utf-8")
    assert boxes(read(tmp_path)) == {"images/val/e\u0301.jpg": [[10, 5, 30, 15]]}


def test_a_line_that_stands_twice_counts_once(put, tmp_path):
    put("images/val/a", "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: {'0': cat}\n")
    data = read(tmp_path)
    assert len(data.records[0].boxes) == 1 and "1 lines are repeated: they count once" in data.notes


@pytest.mark.parametrize(
    "places",
    [
        "path: .\nval: images/val\n",
        "val: ../images/val\n",
        "path: /nowhere/data\nval: images/val/\n",
        "val: [images/val]\n",
        "val: list.txt\n",
        "val: ./list.txt\n",
        "test: images/val\ntrain: images/train\n",
    ],
)
def test_images_are_found_wherever_the_file_says(put, tmp_path, places):
    put("images/val/sub/a.b", "0 0.5 0.5 0.5 0.5\n")
    put("images/train/b")
    (tmp_path / "list.txt").write_text("./images/val/sub/a.b.jpg\n/elsewhere/images/val/gone.jpg\n")
    file = tmp_path / "mine.yaml"
    file.write_text(f"{places}names: [cat]\n")
    data = read(file)
    assert boxes(data) == {"images/val/sub/a.b.jpg": [[10, 5, 30, 15]]} == boxes(read(tmp_path))
    if "list" in places:
        assert any("gone.jpg" in note for note in data.notes)
    if "test" in places:
        assert "the images of test are taken; data.split takes train" in data.notes
        assert boxes(read(file, split="train")) == {"images/train/b.jpg": []}
        with pytest.raises(ConfigurationError, match=r"has no part 'mine'; it has test, train"):
            read(file, split="mine")


def test_without_a_file_folders_and_lists_of_names_do(put, tmp_path):
    put("images/train/a", "1 0.5 0.5 0.5 0.5\n")
    put("images/val/b", "0 0.5 0.5 0.5 0.5\n")
    assert [info.name for info in read(tmp_path).classes] == ["0"]
    (tmp_path / "classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    data = read(tmp_path, split="train")
    assert [info.name for info in data.classes] == ["cat", "dog"] and data.records[0].label == 1


def test_what_cannot_be_used_is_said(put, tmp_path):
    put("images/val/a", "0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "images" / "val" / "a.jpg").write_bytes(b"no image")
    put("images/val/b")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: [cat]\n")
    data = read(tmp_path)
    assert "1 images have no label file: they have no objects" in data.notes
    assert any(note.startswith("1 images cannot be read") for note in data.notes)
    (tmp_path / "other.yaml").write_text("names: [a\n")
    with pytest.raises(DataError, match=r"other\.yaml is not valid YAML"):
        read(tmp_path / "other.yaml")
    with pytest.raises(DataError, match=r"no file .*absent\.yaml"):
        read(tmp_path / "absent.yaml")
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "third.yaml").write_text("val: images/val\n")
    with pytest.raises(DataError, match=r"several files that may describe it; choose one by data\.root"):
        read(tmp_path)


def test_photographs_whose_file_does_not_lead_to_them(layouts):
    data = read(layouts / "yolo-coco128")
    assert len(data.records) == 60 and sum(len(one.boxes) for one in data.records) == 414
    assert data.classes[62].name == "tv" and data.records[0].label == 62


def test_the_four_images_are_those_of_their_coco_layout(layouts):
    data, coco = read(layouts / "tiny" / "yolo"), fill_sizes(read_dataset("coco", str(layouts / "tiny" / "coco")))
    assert data.classes == coco.classes
    expected = {one.file_name.removeprefix("images/default/"): one for one in coco.records}
    assert {one.file_name.removeprefix("images/train/") for one in data.records} == set(expected)
    for one in data.records:
        other = expected[one.file_name.removeprefix("images/train/")]
        assert (one.label, one.width, one.height) == (other.label, other.width, other.height)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
