from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats import read_dataset
from stages.formats.coco.read import read_ground_truth
from stages.ingest.run_lengths import decode
from stages.ingest.uris import read_bytes

SHARED = Path(__file__).resolve().parents[3] / "../shared/data/imagenet"

CONTENT = {
    "images": [
        {"id": 9, "file_name": "sub/é.png", "width": 20, "height": 12},
        {"id": 4, "file_name": "a.png", "width": 20, "height": 12},
        {"id": 5, "file_name": "b.png"},
    ],
    "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "tench", "wnid": "n01440764"}],
    "annotations": [
        {"id": 0, "image_id": 9, "category_id": 3, "bbox": [1, 2, 4, 5]},
        {"id": 1, "image_id": 9, "category_id": 7, "bbox": [10.5, 0, 100, 3]},
        {"id": 2, "image_id": 9, "category_id": 7, "bbox": [0, 0, 0, 5], "area": 0},
        {"id": 3, "image_id": 9, "category_id": 7, "bbox": [5, 5, -2, 3]},
        {"id": 4, "image_id": 9, "category_id": 7, "bbox": [50, 5, 4, 3]},
        {"id": 5, "image_id": 9, "category_id": 3, "bbox": [0, 0, 20, 12], "iscrowd": 1},
        {"id": 6, "image_id": 5, "category_id": 7, "bbox": [0, 0, 2, 2], "iscrowd": 0},
    ],
}


@pytest.fixture
def content() -> dict:
    return deepcopy(CONTENT)


@pytest.fixture
def write(put, tmp_path):
    """Write the annotations and the images that they name, below an image folder."""

    def make(content: object, name: str = "annotations.json", images: str = "") -> str:
        put(name, json.dumps(content).encode())
        for image in ("sub/é.png", "a.png", "b.png"):
            put(f"{images}{image}", image.encode())
        return str(tmp_path)

    return make


def test_boxes_labels_and_notes(write, content) -> None:
    data = read_dataset("coco", write(content))
    assert data.classes == [ClassInfo("tench", "n01440764"), ClassInfo("dog")]
    assert [record.image_id for record in data.records] == [4, 5, 9]
    plain, unsized, full = data.records
    # 28.5 pixels of dog against 20 of tench, once clipped.
    assert full.boxes.tolist() == [[1, 2, 5, 7], [10.5, 0, 20, 3]] and full.boxes.dtype == np.float32
    assert full.box_labels.tolist() == [0, 1] and full.label == 1
    assert (full.width, full.height) == (20, 12)
    assert (unsized.width, unsized.height, unsized.label) == (0, 0, 1)
    assert plain.label == -1 and plain.boxes.shape == (0, 4)
    assert data.notes == [
        "3 boxes dropped: empty, inverted or outside their image",
        "1 crowd annotations (iscrowd or ignore) left out",
        "1 images have boxes of several categories: the one with most area is the label",
        "1 images have no boxes: they have no label",
        "1 boxes clipped: they end outside their image",
    ]


def test_equal_areas_give_the_lower_class(write, content) -> None:
    content["annotations"][:2] = [
        {"id": 0, "image_id": 9, "category_id": 7, "bbox": [0, 0, 4, 4]},
        {"id": 1, "image_id": 9, "category_id": 3, "bbox": [4, 4, 4, 4]},
    ]
    assert read_dataset("coco", write(content)).records[-1].label == 0


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("annotations.json", "images/"),
        ("annotations/instances_val.json", "val/"),
        ("annotations/instances_val.json", "images/val/"),
        ("_annotations.coco.json", ""),
        ("val/_annotations.coco.json", "val/"),
        ("val.json", ""),
        ("my export.json", "images/"),
        ("annotations/instances_val.json", "annotations/"),
    ],
)
def test_places_of_annotations_and_images(write, content, name: str, images: str) -> None:
    data = read_dataset("coco", write(content, name, images))
    assert [record.file_name for record in data.records] == [
        f"{images}{image}" for image in ("a.png", "b.png", "sub/é.png")
    ]
    assert read_bytes(data.records[2].uri).decode() == "sub/é.png"


def test_several_unknown_json_files(write, content, put) -> None:
    root = write(content, "one.json")
    put("results.json", b"[]")
    put("package.json", b'{"name": "images"}')
    assert len(read_dataset("coco", root).records) == 3
    put("two.json", json.dumps(content).encode())
    with pytest.raises(DataError, match=r"one\.json, two\.json; choose one by data\.split=one, data\.split=two"):
        read_dataset("coco", root)


def test_shared_names_are_told_apart_by_wnid(write, content) -> None:
    content["categories"] = [
        {"id": 3, "name": "crane", "wnid": "n1"},
        {"id": 7, "name": "crane", "wnid": "n2"},
    ]
    data = read_dataset("coco", write(content))
    assert [info.name for info in data.classes] == ["crane (n1)", "crane (n2)"]
    assert data.notes[1].startswith("2 categories share their names")


def _set(*path_and_value):
    *path, key, value = path_and_value

    def change(content: dict) -> None:
        for step in path:
            content = content[step]
        content[key] = value

    return change


def _drop(*path):
    def change(content: dict) -> None:
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("categories", 0, "id", None), "categories entry with id None: the id is not a number or text"),
        (_set("categories", 0, "id", 3), "categories entry with id 3: the id is used twice"),
        (_drop("categories", 0, "id"), "'id' is missing"),
        (_set("images", {}), "'images' is missing"),
        (_set("annotations", {}), "'annotations' is missing or is not a list"),
    ],
)
def test_contradictions_are_one_line(write, content, change, message: str) -> None:
    change(content)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset("coco", write(content))
    assert str(caught.value).startswith("annotations.json: ") and "\n" not in str(caught.value)


LEFT_OUT = "1 annotations left out: their entries cannot be used, such as: annotations entry with id 1:"
NO_IMAGE = "1 images left out: their entries cannot be used, such as: images entry with id"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (_set("annotations", 1, "image_id", 77), f"{LEFT_OUT} image_id 77 is not in the file"),
        (_set("annotations", 1, "category_id", [7]), f"{LEFT_OUT} category_id [7] is not in the file"),
        (
            _set("annotations", 1, "bbox", [1, 2, 3]),
            f"{LEFT_OUT} bbox [1, 2, 3] is not four finite numbers",
        ),
        (
            _set("annotations", 1, "bbox", [1, 2, 3, "x"]),
            f"{LEFT_OUT} bbox [1, 2, 3, 'x'] is not four",
        ),
        (_set("annotations", 1, "bbox", [1, 2, float("nan"), 4]), f"{LEFT_OUT} bbox [1, 2, nan, 4] is not"),
        (_drop("annotations", 1, "image_id"), f"{LEFT_OUT} 'image_id' is missing"),
        (
            _set("annotations", 1, 7),
            "1 annotations left out: their entries cannot be used, such as: '7' is not an object",
        ),
        (
            _set("annotations", 1, "segmentation", {"size": [20, 12], "counts": [240]}),
            "1 masks left out: they cannot be used, such as: annotations entry with id 1: "
            "its mask has the size [20, 12], its image [12, 20]",
        ),
        (
            _set("images", 1, "width", 20.5),
            "1 images have a size that is not a number of pixels: it is read from the image, "
            "such as: images entry with id 4: width 20.5",
        ),
        (
            _set("images", 1, "id", [4]),
            f"{NO_IMAGE} [4]: the id is not a number or text",
        ),
        (_set("images", 1, "file_name", ""), f"{NO_IMAGE} 4: file_name '' is not a path"),
        (
            _set("images", 1, "id", 9),
            "1 images left out: another one has the same id, such as: images entry with id 9: a.png",
        ),
        (_drop("images", 1, "file_name"), f"{NO_IMAGE} 4: 'file_name' is missing"),
    ],
)
def test_an_entry_that_cannot_be_used_costs_no_other(write, content, change, note: str) -> None:
    whole = read_dataset("coco", write(content))
    change(content)
    data = read_dataset("coco", write(content))
    (found,) = [line for line in data.notes if line.startswith(note)]
    assert "\n" not in found
    kept = {record.image_id: record for record in data.records}
    assert kept.keys() == ({5, 9} if note.startswith("1 images left out") else {4, 5, 9})
    assert kept[5].boxes.tolist() == whole.records[1].boxes.tolist()
    assert [1, 2, 5, 7] in kept[9].boxes.tolist()


def test_a_file_whose_images_cannot_be_used_says_why(write, content) -> None:
    for image in content["images"]:
        image["file_name"] = None
    with pytest.raises(DataError, match=r"lists no images that can be used: .*3 images left out: .* with id 9"):
        read_dataset("coco", write(content))


def test_what_is_left_out_is_not_in_the_content_either(write, content) -> None:
    content["images"][1]["id"] = None
    content["annotations"][1]["bbox"] = []
    found = read_ground_truth(f"{write(content)}/annotations.json")
    assert [image["id"] for image in found.content["images"]] == [9, 5] and found.listed.categories == [3, 7]
    assert [annotation["id"] for annotation in found.content["annotations"]] == [0, 2, 3, 4, 5, 6]
    assert [record.image_id for record in found.dataset.records] == [5, 9]


def test_images_elsewhere_and_broken_json(put, tmp_path) -> None:
    put("annotations.json", json.dumps(CONTENT).encode())
    with pytest.raises(DataError, match="none of its images is under"):
        read_dataset("coco", str(tmp_path))
    put("annotations.json", b'{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="lists no images"):
        read_dataset("coco", str(tmp_path))
    put("annotations.json", b"{")
    with pytest.raises(DataError, match=r"annotations\.json: not valid JSON"):
        read_dataset("coco", str(tmp_path))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/imagenet beside the repository")
def test_same_images_labels_and_boxes_as_the_imagenet_format() -> None:
    coco, imagenet = (read_dataset(format, str(SHARED)) for format in ("coco", "imagenet"))
    assert len(coco.records) == len(imagenet.records) == 333
    assert [info.wnid for info in coco.classes] == [info.wnid for info in imagenet.classes]
    for ours, theirs in zip(coco.records, imagenet.records, strict=True):
        assert (ours.image_id, ours.uri, ours.label) == (theirs.image_id, theirs.uri, theirs.label)
        # The CSV has whole pixels.
        assert np.abs(np.sort(ours.boxes, axis=0) - np.sort(theirs.boxes, axis=0)).max() <= 0.5


def test_masks_and_ignored_regions(write, content) -> None:
    box = [1, 2, 5, 2, 5, 7, 1, 7]
    content["annotations"] = [
        {"id": 0, "image_id": 9, "category_id": 3, "bbox": [1, 2, 4, 5], "segmentation": [box]},
        {"id": 1, "image_id": 9, "category_id": 7, "bbox": [0, 0, 2, 1], "segmentation": []},
        {"id": 2, "image_id": 9, "category_id": 3, "bbox": [2, 6, 9, 3], "ignore": 1},
        {"id": 3, "image_id": 9, "category_id": 7, "bbox": [0, 0, 20, 12], "iscrowd": 1},
        {"id": 4, "image_id": 4, "category_id": 7, "bbox": [0, 0, 2, 2]},
        {"id": 5, "image_id": 4, "category_id": 7, "bbox": [4, 4, 2, 2], "iscrowd": 1},
        {"id": 6, "image_id": 5, "category_id": 7, "bbox": [0, 0, 2, 2], "segmentation": [box]},
    ]
    data = read_dataset("coco", write(content))
    plain, unsized, full = data.records
    assert (plain.masks, plain.ignore, unsized.masks) == ((), None, ())
    expected = np.zeros((12, 20), bool)
    expected[2:7, 1:5] = True
    assert full.label == 0 and full.masks[1] == b""
    np.testing.assert_array_equal(decode([full.masks[0]], 20, 12), expected)
    ignored = np.zeros((12, 20), bool)
    ignored[6:9, 2:11] = True  # of the label's class alone, as a box where it has no mask
    np.testing.assert_array_equal(decode([full.ignore], 20, 12), ignored)
    assert "1 masks left out: the file does not give the size of their image" in data.notes
