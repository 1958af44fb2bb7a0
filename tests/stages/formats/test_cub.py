"""CUB-200-2011: the published tree, wsolevaluation's lists, and what may be wrong with them."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.boxes.protocols import get_protocol
from stages.errors import ConfigurationError, DataError
from stages.evaluate.baselines import Baselines, compute
from stages.evaluate.metrics.contract import Scoring
from stages.formats import read_dataset
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import read_bytes
from tests.stages.formats.listed import batch_of

DELTAS = (0.3, 0.5, 0.7)
CLASSES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "010.Été"]
NAMES = {
    1: f"{CLASSES[0]}/a.v1.jpg",
    2: f"{CLASSES[1]}/b.jpg",
    4: f"{CLASSES[2]}/été 1.jpg",
    7: f"{CLASSES[0]}/d.jpg",
}
TREE = {
    "images.txt": [f"{key} {name}" for key, name in NAMES.items()],
    "classes.txt": ["1 " + CLASSES[0], "2 " + CLASSES[1], "10 " + CLASSES[2]],
    "image_class_labels.txt": ["1 1", "2 2", "4 10", "7 1"],
    "train_test_split.txt": ["1 0", "2 1", "4 0", "7 0"],
    # The last pixel belongs to a box, and the third one reaches the border.
    "bounding_boxes.txt": ["1 2.0 3.0 7.0 7.0", "2 0.0 0.0 19.0 11.0", "4 10.0 0.0 9.0 11.0", "7 4.5 1.0 5.0 2.5"],
}
LISTS = {
    "image_ids": [f"{CLASSES[0]}/30107316117.jpg", f"{CLASSES[2]}/été 2.jpg"],
    "class_labels": [f"{CLASSES[0]}/30107316117.jpg,0", f"{CLASSES[2]}/été 2.jpg,2"],
    "image_sizes": [f"{CLASSES[0]}/30107316117.jpg,20,12", f"{CLASSES[2]}/été 2.jpg,20,12"],
    "localization": [f"{CLASSES[0]}/30107316117.jpg,2,3,9,10", f"{CLASSES[2]}/été 2.jpg,0,0,20,11"],
}


@pytest.fixture
def put_tree(put):
    """The published tree; ``None`` leaves a file out."""

    def write(photographs: bool = True, **others: list[str] | None) -> None:
        changed = {f"{name}.txt": lines for name, lines in others.items()}
        for name, lines in (TREE | changed).items():
            if lines is not None:
                put(f"CUB_200_2011/{name}", "\n".join(lines).encode())
        for name in NAMES.values() if photographs else ():
            put(f"CUB_200_2011/images/{name}")

    return write


def put_lists(put, folder: str, zipped: bool = False, **others: list[str] | None) -> None:
    for name, lines in (LISTS | others).items():
        if lines is not None:
            text = "\n".join(lines).encode()
            put(f"{folder}{name}.txt{'.gz' if zipped else ''}", gzip.compress(text) if zipped else text)


def test_the_published_tree(put_tree, tmp_path: Path, encode) -> None:
    put_tree()
    data = read_dataset("cub", str(tmp_path))
    assert [info.name for info in data.classes] == CLASSES
    assert [(one.image_id, one.label, one.boxes.tolist()) for one in data.records] == [
        (1, 0, [[2, 3, 10, 11]]),
        (4, 2, [[10, 0, 20, 12]]),
        (7, 0, [[4.5, 1, 10.5, 4.5]]),
    ]
    assert all(one.box_labels.tolist() == [one.label] and read_bytes(one.uri) == encode() for one in data.records)
    assert data.records[1].file_name == f"CUB_200_2011/images/{NAMES[4]}"
    train = read_dataset("cub", str(tmp_path / "CUB_200_2011"), split="train")
    assert [(one.image_id, one.file_name) for one in train.records] == [(2, f"images/{NAMES[2]}")]
    assert data.notes == train.notes == []
    filled = fill_sizes(data)
    assert [(one.width, one.height) for one in filled.records] == [(20, 12)] * 3 and filled.notes == []


def test_photographs_that_are_stored_turned(put_tree, put, tmp_path: Path) -> None:
    """Boxes belong to the pixels as they are stored."""
    put_tree()
    turned, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 12)).save(turned, "JPEG", exif=exif)
    put(f"CUB_200_2011/images/{NAMES[1]}", turned.getvalue())
    record = fill_sizes(read_dataset("cub", str(tmp_path))).records[0]
    assert (record.width, record.height, record.boxes.tolist()) == (12, 20, [[1, 2, 9, 10]])


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("lists", "images"), [("metadata/CUB/val/", "dataset/CUBV2/"), ("val/", "val/images/"), ("", ""), ("lists/", "")]
)
def test_the_lists_of_wsolevaluation(put, tmp_path: Path, lists: str, images: str, zipped: bool) -> None:
    put_lists(put, lists, zipped)
    for name in LISTS["image_ids"]:
        put(f"{images}{name}")
    data = read_dataset("cub", str(tmp_path), split="val")
    # The second class has no image, but its number.
    assert [info.name for info in data.classes] == [CLASSES[0], "class 1", CLASSES[2]]
    assert [(one.image_id, one.label, one.width, one.height, one.boxes.tolist()) for one in data.records] == [
        (1, 0, 20, 12, [[2, 3, 10, 11]]),
        (2, 2, 20, 12, [[0, 0, 20, 12]]),
    ]
    assert [one.file_name for one in data.records] == [f"{images}{name}" for name in LISTS["image_ids"]]
    assert data.notes == []


def test_the_tree_with_the_lists_of_another_part(put, put_tree, tmp_path: Path) -> None:
    put_tree()
    with pytest.raises(DataError, match="has no part val, which is CUBV2; put") as caught:
        read_dataset("cub", str(tmp_path), split="val")
    assert caught.value.about == "split"
    put_lists(put, "metadata/CUB/val/")
    put_lists(put, "metadata/ILSVRC/test/", image_ids=["val/x.JPEG"])
    assert [one.image_id for one in read_dataset("cub", str(tmp_path), split="val").records] == [1, 2]
    assert [one.image_id for one in read_dataset("cub", str(tmp_path), split="test").records] == [1, 4, 7]
    for split in ("test", "train"):
        with pytest.raises(ConfigurationError, match=f"image_ids.txt of the part {split}; it has val") as caught:
            read_dataset("cub", str(tmp_path / "metadata"), split=split)
        assert caught.value.about == "split"


def test_other_folders(put, tmp_path: Path) -> None:
    put("images/a/b.jpg")
    with pytest.raises(DataError, match=r"neither the images\.txt of CUB_200_2011 nor .* is under .*; name the folder"):
        read_dataset("cub", str(tmp_path))
    with pytest.raises(DataError, match="no folder "):
        read_dataset("cub", str(tmp_path / "CUB_200_2011.tgz"))


MISTAKES = {
    # a file of the tree, the notes, labels by image, number of boxes by image
    "lines": (
        {"bounding_boxes": ["1 2 3 7 7", "4 10 0 nan 11", "x 1 1 1 1", "7 1 2 3", ""]},
        [
            "3 lines of bounding_boxes.txt are not a number and x y width height: left out, such as: line 2",
            "2 images have no box",
        ],
        [0, 2, 0],
        [1, 0, 0],
    ),
    "boxes": (
        {"bounding_boxes": ["1 5 5 -3 2", "4 0 0 5 5", "7 0 0 5 5", "7 0 0 5 6", "4 0 0 5 5", "99 0 0 5 5"]},
        [
            "1 lines of bounding_boxes.txt contradict an earlier one, which decides, such as: line 4",
            "1 lines of bounding_boxes.txt repeat an earlier one, such as: line 5",
            "1 lines of bounding_boxes.txt belong to no image: left out, such as: 99",
            "1 boxes dropped: inverted or outside their image",
        ],
        [0, 2, 0],
        [0, 1, 1],
    ),
    "classes": (
        {"image_class_labels": ["1 11", "4 2", "2 2"]},
        [
            "1 images have a class that is not in classes.txt",
            "2 images have no label in the files: their folder's class is taken",
            "1 images lie in another class's folder: their label decides",
        ],
        [0, 1, 0],
        [1, 1, 1],
    ),
    "no classes": (
        {"classes": None, "image_class_labels": None},
        [
            "CUB_200_2011/image_class_labels.txt is missing: the labels are the images' folders",
            "CUB_200_2011/classes.txt is missing: the classes are the images' folders",
            "3 images have no label in the files: their folder's class is taken",
        ],
        [0, 1, 0],
        [1, 1, 1],
    ),
    "no boxes": (
        {"bounding_boxes": None},
        ["CUB_200_2011/bounding_boxes.txt is missing: there are no boxes", "3 images have no box"],
        [0, 2, 0],
        [0, 0, 0],
    ),
}


@pytest.mark.parametrize(("files", "notes", "labels", "boxes"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_the_tree_cost_their_line(put_tree, tmp_path: Path, files, notes, labels, boxes) -> None:
    put_tree(**files)
    data = read_dataset("cub", str(tmp_path))
    assert [one.label for one in data.records] == labels and [len(one.boxes) for one in data.records] == boxes
    assert sorted(data.notes) == sorted(notes)


def test_images_that_are_missing_or_extra(put, put_tree, tmp_path: Path) -> None:
    put_tree(train_test_split=["1 0", "4 0", "2 2"])
    (tmp_path / "CUB_200_2011/images" / NAMES[4]).unlink()
    put("CUB_200_2011/images/holiday.jpg")
    put(f"backup/images/{NAMES[1]}")
    data = read_dataset("cub", str(tmp_path))
    assert [one.file_name for one in data.records] == [f"CUB_200_2011/images/{NAMES[key]}" for key in (1, 4)]
    assert sorted(data.notes) == sorted(
        [
            "1 lines of train_test_split.txt are not a number and 0 or 1: left out, such as: line 3",
            f"2 images are of no part in train_test_split.txt: left out, such as: {NAMES[2]}",
            "1 images are not in images.txt: left out, such as: CUB_200_2011/images/holiday.jpg",
            f"1 images are not under {tmp_path}, such as: {NAMES[4]}",
            "1 images are in several places: the first is taken, such as: "
            f"CUB_200_2011/images/{NAMES[1]} and backup/images/{NAMES[1]}",
        ]
    )
    (tmp_path / "CUB_200_2011/train_test_split.txt").unlink()
    with pytest.raises(DataError, match=r"has images\.txt but no train_test_split\.txt; add it"):
        read_dataset("cub", str(tmp_path))


def test_names_do_not_lead_out_of_the_root(put_tree, tmp_path: Path) -> None:
    put_tree(photographs=False, images=["1 ../../../etc/passwd", "4 /etc/passwd"])
    data = read_dataset("cub", str(tmp_path / "CUB_200_2011"))
    assert [one.uri for one in data.records] == [str(tmp_path / "CUB_200_2011/etc/passwd")] * 2


def test_mistakes_in_the_lists(put, tmp_path: Path) -> None:
    one, two = LISTS["image_ids"]
    put_lists(
        put,
        "val/",
        image_ids=[one, "", two, one],
        class_labels=[f"{one},0", f"{two},200", "else.jpg,1"],
        image_sizes=None,
        localization=[f"{one},2,3,9", f"{two},5,5,4,4", f"{two},0,0,4,4"],
    )
    for name in (one, two):
        put(f"val/{name}")
    data = read_dataset("cub", str(tmp_path), split="val")
    assert [(record.label, record.boxes.tolist()) for record in data.records] == [(0, []), (-1, [[0, 0, 5, 5]])]
    assert sorted(data.notes) == sorted(
        [
            "1 lines of localization.txt lack 4 integers after the name: left out, such as: line 1",
            "1 images of class_labels.txt are not in image_ids.txt: left out, such as: else.jpg",
            f"1 images are in image_ids.txt more than once: they count once, such as: {one}",
            f"1 images of class_labels.txt have a class outside 0 to 199: they have no label, such as: {two} with 200",
            "1 images have no label",
            "1 images have no box",
            "1 boxes dropped: inverted or outside their image",
        ]
    )


@pytest.mark.parametrize(
    ("split", "count", "protocol", "hits"),
    [
        ("val", 1000, "choe2020", [374, 92, 22]),
        pytest.param("val", 1000, "cam2016", [367, 88, 22], marks=pytest.mark.slow),
        pytest.param("test", 5794, "choe2020", [3126, 1098, 264], marks=pytest.mark.slow),
        pytest.param("test", 5794, "cam2016", [3100, 1077, 244], marks=pytest.mark.slow),
        pytest.param("train", 5994, "choe2020", [3335, 1218, 306], marks=pytest.mark.slow),
        pytest.param("train", 5994, "cam2016", [3305, 1202, 298], marks=pytest.mark.slow),
    ],
)
def test_whole_images_against_the_published_boxes(
    wsol_metadata: Path, split: str, count: int, protocol: str, hits: list[int]
) -> None:
    """A reader that takes the last pixel for the edge has 86 or 1053 hits at 0.5 in the original frame."""
    data = read_dataset("cub", str(wsol_metadata), split=split)
    assert len(data.records) == count and len(data.classes) == 200 and len(data.notes) == 1
    assert data.notes[0].startswith(f"{count:,} images are not under ")
    assert data.classes[199].name == "200.Common_Yellowthroat"
    rules = get_protocol(protocol)
    counts = Baselines(rules, 224, DELTAS).update(batch_of(data.records))
    found = compute(counts, Scoring(rules, DELTAS, 0))["full_image"]["gt_known_loc"]
    assert [round(found[level]["value"] * found[level]["n"]) for level in found] == hits
    assert np.unique([record.label for record in data.records]).tolist() == list(range(200))
