"""What stands in COCO files: odd ids, sizes, boxes, masks and missing lists are read or counted, never the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stages.errors import DataError
from stages.formats import read_dataset
from stages.formats.coco.read import read_ground_truth
from stages.formats.coco.results import read_results
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.run_lengths import decode, encode

BOX = [1, 2, 10, 8]
EDGES = [1, 2, 11, 10]
SQUARE = [1, 2, 11, 2, 11, 10, 1, 10]


def dataset(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    """Two images: the first has the annotations, the second one of category 1."""
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30} | image,
            {"id": 2, "file_name": "b.jpg", "width": 50, "height": 20},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            *({"id": 7, "image_id": 1, "category_id": 2, "bbox": BOX} | one for one in annotations),
            {"id": 8, "image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5]},
        ],
    }


@pytest.fixture
def read(put, tmp_path) -> Callable[[Any], Dataset]:
    def make(content: Any, **options: object) -> Dataset:
        put("annotations.json", content if isinstance(content, bytes) else json.dumps(content).encode())
        for name in ("a.jpg", "b.jpg"):
            put(name, name.encode())
        return read_dataset("coco", str(tmp_path), **options)

    return make


def mask_of(record: ImageRecord) -> list[int]:
    """The box x0, y0, x1, y1 of the only mask, which fills it."""
    (mask,) = record.masks
    pixels = decode([mask], record.width, record.height)
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    assert pixels.sum() == len(rows) * len(columns)
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


UNUSED_MASK = "1 masks left out: they cannot be used, such as: annotations entry with id 7: "
NOT_POLYGONS = f"{UNUSED_MASK}its segmentation is not a list of polygons of three or more finite points"

SEGMENTATIONS: dict[str, tuple[Any, bool, list[str]]] = {
    # the segmentation, whether it is a mask, the notes
    "null": (None, False, []),
    "none": ([], False, []),
    "an empty polygon": ([[]], False, []),
    "two points": ([[1, 2, 11, 10]], False, [NOT_POLYGONS]),
    "flat": (SQUARE, True, []),
    "list of polygons": ([SQUARE], True, []),
    "two points beside a polygon": ([SQUARE, [0, 0, 9, 9], []], True, []),
    "text": ("a", False, [NOT_POLYGONS]),
    "not a number": ([[float("nan"), *SQUARE[1:]]], False, [NOT_POLYGONS]),
    "run lengths": (None, True, []),
    "compressed run lengths": (None, True, []),
    "run lengths of another size": (
        {"size": [40, 30], "counts": [1200]},
        False,
        [f"{UNUSED_MASK}its mask has the size [40, 30], its image [30, 40], height first"],
    ),
}
PIXELS = np.zeros((30, 40), bool)
PIXELS[2:10, 1:11] = True
_RUNS = np.flatnonzero(np.diff(np.concatenate([[False], PIXELS.T.ravel(), [False]]).astype(int)))
_COUNTS = np.diff([0, *_RUNS.tolist(), 1200]).tolist()
SEGMENTATIONS["run lengths"] = ({"size": [30, 40], "counts": _COUNTS}, True, [])
SEGMENTATIONS["compressed run lengths"] = ({"size": [30, 40], "counts": encode(PIXELS).decode()}, True, [])


@pytest.mark.parametrize(("segmentation", "masked", "notes"), SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_segmentations(read, segmentation, masked: bool, notes: list[str]) -> None:
    data = read(dataset({"segmentation": segmentation}))
    first = data.records[0]
    assert (first.boxes.tolist(), first.label, bool(first.masks)) == ([EDGES], 1, masked)
    assert not masked or mask_of(first) == EDGES
    assert data.notes == notes


@pytest.mark.parametrize("bbox", [[], None, ...], ids=["empty", "null", "absent"])
@pytest.mark.parametrize(("segmentation", "masked", "notes"), SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_annotations_without_a_box(read, bbox, segmentation, masked: bool, notes: list[str]) -> None:
    """They label their image, or take the box of their mask."""
    content = dataset({"segmentation": segmentation, "bbox": bbox if bbox is not ... else 0})
    if bbox is ...:
        del content["annotations"][0]["bbox"]
    data = read(content)
    assert data.records[0].label == 1 and data.records[0].boxes.tolist() == [EDGES] * masked
    what = "boxes are those of the masks: their annotations have none"
    tags = "annotations have no box: they only label their image"
    assert sorted(data.notes) == sorted([*notes, f"1 {what if masked else tags}"])


def test_tags_label_an_image_that_has_no_box(read) -> None:
    tags = [{"bbox": None, "category_id": number} for number in (2, 1, 2)]
    data = read(dataset(*tags))
    assert (data.records[0].label, data.records[1].label) == (1, 0)
    assert "1 images have labels of several categories and no boxes: the most frequent one, or the first, is taken" in (
        data.notes
    )
    boxed = read(dataset({"category_id": 1}, *tags))
    assert boxed.records[0].label == 0 and boxed.records[0].box_labels.tolist() == [0]


SIZES: dict[str, tuple[Any, int]] = {
    "float": (40.0, 40),
    "text": ("40", 40),
    "text of a float": ("40.0", 40),
    "null": (None, 0),
    "zero": (0, 0),
    "a fraction": (40.5, 0),
    "negative": (-40, 0),
    "infinite": (float("inf"), 0),
    "not a number": (float("nan"), 0),
    "a list": ([40], 0),
}


@pytest.mark.parametrize(("width", "expected"), SIZES.values(), ids=SIZES)
def test_sizes(read, width, expected: int) -> None:
    data = read(dataset({}, width=width))
    assert (data.records[0].width, data.records[0].boxes.tolist()) == (expected, [EDGES])
    odd = [] if expected or width == 0 else [line for line in data.notes if "have a size that is not a number" in line]
    assert data.notes == odd


IDS: dict[str, tuple[Any, Any, list[int], int]] = {
    # the id of the first image, what its annotation says, the image ids, number of notes
    "integer": (1, 1, [1, 2], 0),
    "float": (1.0, 1, [1, 2], 0),
    "text of a number": ("1", 1, [1, 2], 0),
    "padded text": ("000000000139", 139, [2, 139], 0),
    "annotations as text": (139, "000000000139", [2, 139], 0),
    "zero": (0, 0, [0, 2], 0),
    "text": ("img_a", "img_a", [2, 3], 1),
    "a fraction": (1.5, "1.5", [2, 3], 1),
    "longer than 64 bits": (10**30, 10**30, [2, 3], 1),
}


@pytest.mark.parametrize(("own", "said", "expected", "notes"), IDS.values(), ids=IDS)
def test_ids_of_images(read, tmp_path, own, said, expected: list[int], notes: int) -> None:
    data = read(dataset({"image_id": said}, id=own))
    assert [record.image_id for record in data.records] == expected
    (first,) = [record for record in data.records if record.file_name == "a.jpg"]
    assert (first.boxes.tolist(), first.label) == ([EDGES], 1)
    assert len(data.notes) == notes
    truth = read_ground_truth(str(tmp_path / "annotations.json")).content
    assert sorted(image["id"] for image in truth["images"]) == expected
    assert {one["image_id"] for one in truth["annotations"]} == set(expected)


CATEGORIES: dict[str, tuple[Any, list[str]]] = {
    # the ids of cat and dog, the classes
    "from one": ([1, 2], ["cat", "dog"]),
    "from zero": ([0, 1], ["cat", "dog"]),
    "sparse": ([90, 13], ["dog", "cat"]),
    "numbers as text": (["10", "9"], ["dog", "cat"]),
    "names": (["z", "b"], ["cat", "dog"]),
}


@pytest.mark.parametrize(("ids", "classes"), CATEGORIES.values(), ids=CATEGORIES)
def test_ids_of_categories(read, tmp_path, ids: list[Any], classes: list[str]) -> None:
    content = dataset({"category_id": ids[1]})
    content["annotations"][1]["category_id"] = ids[0]
    for category, own in zip(content["categories"], ids, strict=True):
        category["id"] = own
    data = read(content)
    assert [info.name for info in data.classes] == classes and data.notes == []
    assert [classes[record.label] for record in data.records] == ["dog", "cat"]
    truth = read_ground_truth(str(tmp_path / "annotations.json")).content
    assert [one["name"] for one in truth["categories"]] == classes
    numbers = {one["id"]: one["name"] for one in truth["categories"]}
    assert [numbers[one["category_id"]] for one in truth["annotations"]] == ["dog", "cat"]


def test_missing_lists(read) -> None:
    content = dataset({})
    del content["categories"]
    data = read(content)
    assert [info.name for info in data.classes] == ["1", "2"] and [one.label for one in data.records] == [1, 0]
    assert data.notes == ["the file lists no categories: those of its annotations are the classes"]
    for nothing in ({"annotations": []}, {"annotations": None}, {}):
        content = {key: value for key, value in dataset().items() if key != "annotations"} | nothing
        data = read(content)
        assert [record.label for record in data.records] == [-1, -1] and len(data.classes) == 2
        assert data.notes == ["the file has no annotations", "2 images have no boxes: they have no label"]


def test_categories_of_one_name_are_told_apart(read) -> None:
    content = dataset({})
    content["categories"] = [{"id": 1, "name": "x"}, {"id": 2, "name": "x", "wnid": "n2"}, {"id": 3, "name": None}]
    data = read(content)
    assert [info.name for info in data.classes] == ["x (1)", "x (n2)", "3"]
    assert [line[:38] for line in data.notes] == ["1 categories share their names with ot"] * 2
    content["categories"] = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}, {"id": 2.0, "name": "y"}]
    assert [info.name for info in read(content).classes] == ["x", "y"]
    content["categories"][2]["name"] = "z"
    with pytest.raises(DataError, match=r"categories entry with id 2\.0: the id is used twice"):
        read(content)


def test_an_image_listed_twice_is_one(read) -> None:
    content = dataset({})
    content["images"].append({"id": 1, "file_name": "c.jpg", "width": 9, "height": 9})
    data = read(content)
    assert [record.file_name for record in data.records] == ["a.jpg", "b.jpg"]
    assert data.notes == ["1 images left out: another one has the same id, such as: images entry with id 1: c.jpg"]


def test_orphans_and_numbers_that_are_none_cost_nothing_else(read) -> None:
    text = json.dumps(
        dataset({}, {"image_id": 77}, {"category_id": 77}, {"bbox": [1, 2, 3]}, {"bbox": ["1", "2", "10", "8"]})
    )
    data = read(text.replace('"width": 50', '"width": NaN').encode())
    assert data.records[0].boxes.tolist() == [EDGES, EDGES] and data.records[1].boxes.tolist() == [[0, 0, 5, 5]]
    assert [line[:50] for line in data.notes] == [
        "1 images have a size that is not a number of pixel",
        "3 annotations left out: their entries cannot be us",
    ]


@pytest.mark.parametrize(
    ("crowd", "counted"), [(1, 1), ("1", 1), (True, 1), ("true", 1), (0, 0), ("0", 0), (None, 0), (False, 0)]
)
def test_crowds(read, crowd, counted: int) -> None:
    regions = {"size": [30, 40], "counts": _COUNTS}
    data = read(dataset({"bbox": [20, 20, 5, 5]}, {"iscrowd": crowd, "segmentation": regions}))
    assert len(data.records[0].boxes) == 2 - counted
    assert data.notes == ["1 crowd annotations (iscrowd or ignore) left out"] * counted


def test_entries_that_share_a_file_are_said(read) -> None:
    content = dataset()
    content["images"][1]["file_name"] = "a.jpg"
    assert (
        "1 images have the file of another one: each has its own annotations only, such as: a.jpg"
        in read(content).notes
    )


def test_an_image_without_a_name_has_that_of_its_url(read) -> None:
    content = dataset()
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    assert [record.file_name for record in read(content).records] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["bus.jpg", "my dog.jpg"], ["bus", "my dog"]),
        (["bus.jpg", "my dog.jpg"], ["bus.jpg", "my dog.jpg"]),
        (["val/bus.jpg", "train/bus.jpg"], ["val/bus", "train/bus"]),
        (["000002.jpg", "000009.jpg"], [2, 9]),
    ],
    ids=["stems", "names", "paths", "numbers of which some are ids"],
)
def test_predictions_may_call_images_by_their_files(put, names: list[str], called: list[Any]) -> None:
    content = dataset()
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
    truth = read_ground_truth(str(put("truth.json", json.dumps(content).encode())))
    rows = [{"image_id": name, "category_id": 1, "bbox": BOX, "score": 0.5} for name in called]
    path = put("predictions.json", json.dumps(rows).encode())
    found = read_results(path, truth.listed, {1: (40, 30), 2: (50, 20)})
    assert found.image.tolist() == [1, 2]
    assert found.notes == ["the predictions call the images by their file names, not by their ids"]


@pytest.mark.parametrize(("categories", "said"), [([0, 1], True), ([1, 2], False), ([0, 2], False)])
def test_categories_that_are_counted_from_zero_are_said(put, categories: list[int], said: bool) -> None:
    truth = read_ground_truth(str(put("truth.json", json.dumps(dataset()).encode())))
    rows = [{"image_id": 1, "category_id": category, "bbox": BOX, "score": 0.5} for category in categories]
    found = read_results(put("predictions.json", json.dumps(rows).encode()), truth.listed, {1: (40, 30), 2: (50, 20)})
    note = "the predictions seem to count the categories from 0: write their ids, or the classes are wrong"
    assert (note in found.notes) == said
