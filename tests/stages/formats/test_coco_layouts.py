"""COCO datasets as programs and people leave them: where the files are, how they are named, and what is in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from stages.errors import DataError
from stages.formats import read_dataset
from stages.ingest.records import Dataset
from stages.ingest.uris import read_bytes

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 2, "file_name": "b c.JPEG", "width": 50, "height": 20},
        {"id": 3, "file_name": "é.png", "width": 60, "height": 60},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 8]},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [5, 5, 30, 10]},
    ],
}
FILES = ("a.jpg", "b c.JPEG", "é.png")
LABELS = [1, 0, -1]
BOXES = [[[1, 2, 11, 10]], [[5, 5, 35, 15]], []]
EMPTY = "1 images have no boxes: they have no label"

Read = Callable[..., Dataset]


@pytest.fixture
def read(put, tmp_path) -> Read:
    """Write annotation files and images, and read the dataset; every image holds its own path."""

    def make(annotations: dict[str, Any], images: list[str], root: str = "", **options: object) -> Dataset:
        for name, content in annotations.items():
            put(name, content if isinstance(content, bytes) else json.dumps(content).encode())
        for image in images:
            put(image, image.encode())
        return read_dataset("coco", str(tmp_path / root), **options)

    return make


def found(data: Dataset) -> list[str]:
    """The file that each image is read from, which must be the one that its record names."""
    paths = [read_bytes(record.uri).decode() for record in data.records]
    assert [record.file_name for record in data.records] == [path.removeprefix("set/") for path in paths]
    return paths


def below(folder: str) -> list[str]:
    return [f"{folder}{name}" for name in FILES]


def other() -> dict[str, Any]:
    """Annotations of other images, which must not be taken."""
    return {**deepcopy(CONTENT), "images": [{"id": 9, "file_name": "z.jpg"}], "annotations": []}


INSTANCES = "annotations/instances_"

LAYOUTS: dict[str, tuple[dict[str, Any], str, str, dict[str, Any]]] = {
    # the annotation files, the folder of the images, data.root below the folder, options
    "COCO 2017": (
        {
            f"{INSTANCES}val2017.json": CONTENT,
            f"{INSTANCES}train2017.json": other(),
            "annotations/captions_val2017.json": other(),
            "annotations/person_keypoints_val2017.json": other(),
        },
        "val2017/",
        "",
        {},
    ),
    "COCO 2017, train": (
        {f"{INSTANCES}val2017.json": other(), f"{INSTANCES}train2017.json": CONTENT},
        "train2017/",
        "",
        {"split": "train"},
    ),
    "COCO 2014 by its year": (
        {f"{INSTANCES}val2014.json": CONTENT, f"{INSTANCES}val2017.json": other()},
        "val2014/",
        "",
        {"split": "val2014"},
    ),
    "COCO 2017 in images": ({f"{INSTANCES}val2017.json": CONTENT}, "images/val2017/", "", {}),
    "only the instances of train": ({f"{INSTANCES}train2017.json": CONTENT}, "train2017/", "", {}),
    "only the instances beside keypoints": (
        {f"{INSTANCES}default.json": CONTENT, "annotations/person_keypoints_default.json": other()},
        "images/default/",
        "",
        {},
    ),
    "CVAT's subsets": (
        {f"{INSTANCES}Validation.json": CONTENT, f"{INSTANCES}Train.json": other()},
        "images/Validation/",
        "",
        {},
    ),
    "FiftyOne": ({"labels.json": CONTENT}, "data/", "", {}),
    "FiftyOne with splits": (
        {"validation/labels.json": CONTENT, "train/labels.json": other()},
        "validation/data/",
        "",
        {},
    ),
    "Roboflow": (
        {"valid/_annotations.coco.json": CONTENT, "train/_annotations.coco.json": other()},
        "valid/",
        "",
        {},
    ),
    "Roboflow, test": (
        {"test/_annotations.coco.json": CONTENT, "train/_annotations.coco.json": other()},
        "test/",
        "",
        {"split": "test"},
    ),
    "images of each subset": (
        {"annotations/val.json": CONTENT, "annotations/train.json": other()},
        "images/val/",
        "",
        {},
    ),
    "train_annotations": ({"val_annotations.json": CONTENT, "train_annotations.json": other()}, "pictures/", "", {}),
    "Label Studio": ({"result.json": CONTENT}, "images/", "", {}),
    "supervision": ({"a.json": CONTENT, "predictions.json": []}, "images/", "", {}),
    "one folder deeper": ({"coco/annotations/instances_val2017.json": CONTENT}, "coco/val2017/", "", {}),
    "annotations and images mixed": ({"my export.json": CONTENT}, "", "", {}),
    "the file as root": (
        {f"{INSTANCES}val2017.json": CONTENT, f"{INSTANCES}train2017.json": other()},
        "val2017/",
        f"{INSTANCES}val2017.json",
        {},
    ),
    "the file as root beside its images": ({"set/x.json": CONTENT, "y.json": other()}, "set/", "set/x.json", {}),
    "compressed": ({f"{INSTANCES}val.json.gz": gzip.compress(json.dumps(CONTENT).encode())}, "val/", "", {}),
    "byte-order mark": ({"annotations.json": b"\xef\xbb\xbf" + json.dumps(CONTENT).encode()}, "images/", "", {}),
}


@pytest.mark.parametrize(("annotations", "folder", "root", "options"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(read: Read, annotations, folder: str, root: str, options) -> None:
    data = read(annotations, below(folder), root, **options)
    assert found(data) == below(folder)
    assert [record.label for record in data.records] == LABELS
    assert [record.boxes.tolist() for record in data.records] == BOXES
    assert [info.name for info in data.classes] == ["cat", "dog"]
    other_split = ["the annotations are those of annotations/instances_train2017.json: there are none of val"]
    assert data.notes == [EMPTY] + other_split * ("train2017" in folder and not options)


@pytest.mark.parametrize("folder", ["", "images/", "x/images/", "{}/data/"], ids=["", "images", "deeper", "FiftyOne"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_equal_names_in_both_splits(read: Read, folder: str, split: str) -> None:
    """Whatever chooses the file, its own split's images are taken, not those of the same names in the other."""
    fiftyone = "{}" in folder
    parts = {one: folder.format(one) if fiftyone else f"{folder}{one}/" for one in ("train", "val")}
    places = {one: f"{one}/labels.json" if fiftyone else f"{INSTANCES}{one}.json" for one in parts}
    files = dict.fromkeys(places.values(), CONTENT)
    images = below(parts["train"]) + below(parts["val"])
    assert found(read(files, images, split=split)) == below(parts[split])
    if not fiftyone:
        assert found(read(files, images, places[split])) == below(parts[split])


def test_several_annotation_files_are_named_with_what_chooses_them(read: Read, tmp_path) -> None:
    files = {f"{INSTANCES}train2017.json": CONTENT, f"{INSTANCES}test2017.json": CONTENT, "x y/my data.json": CONTENT}
    with pytest.raises(DataError) as caught:
        read(files, below("train2017/"))
    assert str(caught.value) == (
        f"{tmp_path} has several annotation files: annotations/instances_test2017.json, "
        "annotations/instances_train2017.json; choose one by data.split=test2017, data.split=train2017"
    )
    assert found(read({}, [], split="train2017")) == below("train2017/")
    with pytest.raises(DataError, match="several annotation files: annotations/instances_val2014"):
        read({f"{INSTANCES}val2014.json": CONTENT, f"{INSTANCES}val2017.json": CONTENT}, [])
    with pytest.raises(DataError) as caught:
        read(dict.fromkeys(("more/one/x.json", "more/two/a b+.json", "more/two/x.json"), CONTENT), [], "more")
    assert f"choose one by data.split=one, 'data.root={tmp_path}/more/two/a b+.json', data.root=/" in str(caught.value)


NAMES: dict[str, tuple[str, str]] = {
    # the name in the annotations, the file
    "plain": ("a.jpg", "a.jpg"),
    "backslashes": (r"train\sub\a.jpg", "train/sub/a.jpg"),
    "Windows": (r"C:\Users\me\set\images\a.jpg", "images/a.jpg"),
    "absolute": ("/home/somebody/coco/val2017/a.jpg", "val2017/a.jpg"),
    "the folder's own name in front": ("my set/images/a.jpg", "images/a.jpg"),
    "a subset in front": ("val/a.jpg", "data/a.jpg"),
    "a path of which the end is here": ("x/y/sub/a.jpg", "images/sub/a.jpg"),
    "the last part of a path": ("a.jpg", "images/deep/er/a.jpg"),
    "percent-encoded": ("b%20c%C3%A9.jpg", "images/b cé.jpg"),
    "uri": ("https://example.com/set/a%20b.jpg?x=1", "images/a b.jpg"),
    "file uri": ("file:///data/a.jpg", "a.jpg"),
    "Label Studio": ("/data/local-files/?d=sub/%C3%A9t%C3%A9%201.jpg", "sub/été 1.jpg"),
    "extension in capitals": ("a.jpeg", "images/a.JPEG"),
    "other extension of JPEG": ("a.jpeg", "images/a.jpg"),
    "converted": ("a.png", "images/a.jpg"),
    "other case": ("Images/A.jpg", "images/a.jpg"),
    "composed and decomposed": ("\u00e9.jpg", "images/e\u0301.jpg"),
    "a percent sign": ("100%25.jpg", "images/100%25.jpg"),
    "dots": ("../images/./a.jpg", "images/a.jpg"),
    "a backslash in the name": (r"a\b.jpg", r"images/a\b.jpg"),
}


@pytest.mark.parametrize(("name", "file"), NAMES.values(), ids=NAMES)
def test_names_of_images(read: Read, name: str, file: str) -> None:
    content = deepcopy(CONTENT)
    content["images"][0]["file_name"] = name
    content["images"][1]["file_name"] = "other/x.jpg"
    data = read({"annotations.json": content}, [file, "other/x.jpg", "other/z.jpg", "images/é.png"])
    assert found(data) == [file, "other/x.jpg", "images/é.png"]
    assert [record.boxes.tolist() for record in data.records] == BOXES
    assert [line for line in data.notes if "not there" in line] == []


def test_names_that_do_not_say_which_file_are_not_guessed(read: Read) -> None:
    content = deepcopy(CONTENT)
    names = ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg")
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
    data = read({"annotations.json": content}, ["images/dog/1.jpg", "images/dog/2.png"])
    assert [record.file_name for record in data.records] == ["images/cat/1.jpg", "images/dog/1.jpg", "images/dog/2.png"]
    assert data.notes == [
        EMPTY,
        "1 images are found under another name than in the annotations, such as: 'dog/2.jpg' is 'images/dog/2.png'",
        "1 images are not there, such as: cat/1.jpg",
    ]


def test_no_two_images_share_a_file(read: Read) -> None:
    content = deepcopy(CONTENT)
    for image, name in zip(content["images"], ("a.png", "a.jpg", "b.jpg"), strict=True):
        image["file_name"] = name
    data = read({"annotations.json": content}, ["images/a.jpg", "images/b.jpg"])
    assert [record.file_name for record in data.records] == ["images/a.png", "images/a.jpg", "images/b.jpg"]
    assert "1 images are not there, such as: a.png" in data.notes


def test_images_in_two_places_are_said(read: Read) -> None:
    data = read({"annotations.json": CONTENT}, [*below("x/"), *below("y/")])
    assert found(data) == below("x/")
    assert data.notes[1:] == ["3 images are in several places: the first is taken, such as: x/a.jpg and y/a.jpg"]


def test_an_absolute_name_is_in_one_place(read: Read) -> None:
    content = deepcopy(CONTENT)
    for image in content["images"]:
        image["file_name"] = f"/data/upload/1/{image['file_name']}"
    notes = read({"annotations.json": content}, below("images/")).notes
    assert not any("several places" in line for line in notes)


@pytest.mark.parametrize("name", ["{}/far/a.jpg", "../far/a.jpg", "x/../../far/a.jpg"])
@pytest.mark.parametrize("alone", [True, False])
def test_images_outside_the_root_are_read_where_that_is_allowed(
    read: Read, put, tmp_path, name: str, alone: bool
) -> None:
    """A file of strangers could name any picture of this machine."""
    content = deepcopy(CONTENT)
    content["images"] = content["images"][: 1 if alone else 2]
    content["images"][0]["file_name"] = name.format(tmp_path)
    if alone:
        content["annotations"] = content["annotations"][:1]
    else:
        put("near/b c.JPEG", b"near")
    put("far/a.jpg", b"far")
    if alone:
        message = r"annotations\.json names images outside .*near, such as .*far/a\.jpg; .* data\.allow_outside=true"
        with pytest.raises(DataError, match=message):
            read({"near/annotations.json": content}, [], "near")
    else:
        data = read({"near/annotations.json": content}, [], "near")
        assert [read_bytes(record.uri) for record in data.records] == [b"near"]
        assert any(line.startswith("1 images are outside data.root, and left out") for line in data.notes)
    data = read({"near/annotations.json": content}, [], "near", allow_outside=True)
    first = data.records[0]
    assert read_bytes(first.uri) == b"far" and first.file_name == f"{tmp_path}/far/a.jpg".lstrip("/")
    assert len(data.records) == len(content["images"])


def test_a_link_in_the_root_is_the_user_s_own(read: Read, put, tmp_path) -> None:
    put("far/a.jpg", b"far")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "images").symlink_to(tmp_path / "far")
    content = deepcopy(CONTENT)
    content["images"], content["annotations"] = content["images"][:1], content["annotations"][:1]
    (record,) = read({"near/annotations.json": content}, [], "near").records
    assert read_bytes(record.uri) == b"far"
