"""Labels of validation images that have no boxes: lists, the devkit, and numbered or named class folders."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from stages.classes import ilsvrc_ids, imagenet_classes
from stages.formats import read_dataset
from tests.stages.formats.ilsvrc import GOLDFISH, TENCH, stem, write_tar, xml

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
# As published, the ILSVRC ids and the indices of the first ten images.
IDS = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]
INDICES = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
WNIDS = [imagenet_classes()[index].wnid for index in INDICES]
CAFFE = "".join(f"{stem(row)}.JPEG {index}\n" for row, index in enumerate(INDICES, 1))
DEVKIT = "\n".join(map(str, IDS)).encode()


def labels(root: Path) -> list[int]:
    return [record.label for record in read_dataset("imagenet", str(root)).records]


def notes(root: Path) -> list[str]:
    return read_dataset("imagenet", str(root)).notes


@pytest.fixture
def ten(put, tmp_path: Path) -> Path:
    """The first ten images, flat."""
    for number in range(1, 11):
        put(f"val/{stem(number)}.JPEG", b"")
    return tmp_path


def test_ilsvrc_ids_are_those_of_the_devkit() -> None:
    assert sorted(ilsvrc_ids()) == list(range(1, 1001)) and sorted(ilsvrc_ids().values()) == list(range(1000))
    assert [ilsvrc_ids()[number] for number in IDS] == INDICES
    names = {imagenet_classes()[ilsvrc_ids()[number]].name for number in (1, 449, 1000)}
    assert names == {"kit fox", "tench", "dumbbell"}


DEVKIT_FILES = {
    "beside the images": (GROUND_TRUTH, DEVKIT),
    "in the devkit": (f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}", DEVKIT),
    "Kaggle's year": ("ILSVRC/devkit/data/ILSVRC2015_clsloc_validation_ground_truth.txt", DEVKIT),
    "of a spreadsheet": (GROUND_TRUTH, b"\xef\xbb\xbf" + DEVKIT.replace(b"\n", b"\r\n") + b"\r\n"),
    "the devkit's archive": ("ILSVRC2012_devkit_t12.tar.gz", None),
}


@pytest.mark.parametrize("place", DEVKIT_FILES)
def test_ground_truth_of_the_devkit(put, ten: Path, place: str) -> None:
    name, content = DEVKIT_FILES[place]
    if content is None:
        write_tar(ten / name, {f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}": DEVKIT}, "w:gz")
    else:
        put(name, content)
    assert labels(ten) == INDICES
    assert notes(ten)[0] == f"no annotations in {ten}: no boxes, and only the labels of the folders and lists"
    assert any(note.endswith("are taken as the ILSVRC ids of the devkit") for note in notes(ten))


LISTS = {
    "caffe": ("val.txt", CAFFE),
    "caffe's folder": ("caffe_ilsvrc12/val.txt", CAFFE),
    "meta": ("meta/val.txt", CAFFE),
    "with folders": ("val_list.txt", CAFFE.replace("ILSVRC", "val/ILSVRC")),
    "commas, class_labels.txt of Choe et al.": ("class_labels.txt", CAFFE.replace(" ", ",")),
    "tabs, decimals": ("val.txt", CAFFE.replace(" ", "\t").replace("\n", ".0\n")),
    "no extension": ("labels.txt", CAFFE.replace(".JPEG", "")),
    "another extension": ("val.txt", CAFFE.replace(".JPEG", ".jpg")),
    "wnids": ("val.txt", "".join(f"{stem(row)}.JPEG {wnid}\n" for row, wnid in enumerate(WNIDS, 1))),
    "gzipped": ("val.txt.gz", CAFFE),
    "a comment above": ("val.txt", f"# image and class\n{CAFFE}"),
    "a spreadsheet's": (
        "val.csv",
        "filename,label\n" + "".join(f'"val/{stem(row)}.JPEG",{index}\n' for row, index in enumerate(INDICES, 1)),
    ),
    "blanks in folders": ("val.txt", CAFFE.replace("ILSVRC", "/my data/val/ILSVRC")),
    "backslashes": ("val.txt", CAFFE.replace("ILSVRC", "val\\ILSVRC")),
    "blank lines": ("val.txt", CAFFE.replace("\n", "\n\n", 3)),
    "UTF-16": ("val.txt", CAFFE),
    "names behind": ("val.txt", CAFFE.replace("\n", " great white shark\n")),
    "TensorFlow": ("imagenet_2012_validation_synset_labels.txt", "\n".join(map(str, WNIDS))),
}


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_labels(put, ten: Path, form: str) -> None:
    name, text = LISTS[form]
    content = text.encode("utf-16" if form == "UTF-16" else "utf-8")
    put(name, gzip.compress(content) if name.endswith(".gz") else content)
    assert labels(ten) == INDICES
    numbers = form not in ("wnids", "TensorFlow")
    taken = f"the numbers of {name} are taken as indices from 0 in the order of the wnids"
    assert (taken in notes(ten)) == numbers


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        (
            "val.txt",
            "".join(f"{stem(row)} {row}\n" for row in range(1, 11)),
            "val.txt numbers the images, not their classes: it is not used",
        ),
        (
            "val.txt",
            CAFFE.replace(" 332", " 1000"),
            "val.txt numbers the classes from 1 to 1000, which may be two orders: it is not used",
        ),
        (
            GROUND_TRUTH,
            "\n".join(["0", *map(str, INDICES)]),
            f"{GROUND_TRUTH} numbers the classes from 0, as no ILSVRC ids do: it is not used",
        ),
        (
            GROUND_TRUTH,
            "\n".join(["490", "", *map(str, IDS[1:])]),
            f"{GROUND_TRUTH} has blank lines, so that its lines are not counted off as the images are: it is not used",
        ),
    ],
)
def test_lists_that_say_something_else(put, ten: Path, name: str, text: str, note: str) -> None:
    put(name, text.encode())
    assert labels(ten) == [-1] * 10 and note in notes(ten)


def test_lines_that_say_no_class_or_two(put, ten: Path) -> None:
    put("val.txt", f"{CAFFE}{stem(11)}.JPEG 1000\n{stem(12)}.JPEG -1\n{stem(13)}.JPEG\n{stem(1)}.JPEG 0\n".encode())
    assert labels(ten) == INDICES
    found = notes(ten)
    assert "1 labels differ within val.txt: the former is used" in found
    # The highest number is 1000, but the numbers begin with 0.
    assert "3 lines of val.txt have no class of the 1000: left out, such as: line 11" in found


@pytest.mark.parametrize("place", ["beside the images", "the devkit's archive"])
def test_an_empty_list_says_nothing_of_any_image(put, ten: Path, place: str) -> None:
    name = DEVKIT_FILES[place][0]
    if name == GROUND_TRUTH:
        put(name, b"\n")
    else:
        write_tar(ten / name, {f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}": b""}, "w:gz")
    assert labels(ten) == [-1] * 10


def test_a_list_is_the_last_to_be_asked(put, tmp_path: Path) -> None:
    """Order of the sources: annotation, folder, list. Contradictions and images without a label are counted."""
    put("val.txt", "".join(f"{stem(row)}.JPEG {label}\n" for row, label in enumerate([5, 6, 7, 1], 1)).encode())
    put(GROUND_TRUTH, b"449\n450\n450\n450")
    put(f"Annotations/{stem(1)}.xml", xml(1, TENCH, (0, 0, 4, 4)))
    put(f"val/{GOLDFISH}/{stem(1)}.JPEG")
    put(f"val/{GOLDFISH}/{stem(2)}.JPEG")
    put(f"val/{stem(3)}.JPEG")
    put(f"val/{stem(9)}.JPEG")
    assert labels(tmp_path) == [0, 1, 1, -1]
    assert {line for line in notes(tmp_path) if "numbers of" not in line} == {
        "3 images have no annotation",
        "1 images lie in another class's folder: their annotation decides",
        f"3 labels differ between {GROUND_TRUTH} and val.txt: the former is used",
        "1 images have no label",
    }
    (tmp_path / GROUND_TRUTH).unlink()
    assert labels(tmp_path) == [0, 1, 7, -1]
    assert "2 images have another label in a list than in their annotation or folder, which decides" in notes(tmp_path)


def test_a_list_that_cannot_be_read_costs_its_labels_alone(put, ten: Path) -> None:
    put("val.txt", CAFFE.encode())
    put("ILSVRC2012_devkit_t12.tar.gz", b"\x1f\x8bcut")
    put("notes.txt.gz", b"no gzip")
    (ten / "gone.txt").symlink_to(ten / "nowhere")
    assert labels(ten) == INDICES
    assert any(
        note.startswith("3 files that may list labels cannot be read: they are left out, such as: ILSVRC2012_devkit")
        for note in notes(ten)
    )
