"""Whatever may occur twice in a copy of the validation set: merged where that is meant, counted where it is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.formats import read_dataset
from stages.formats.imagenet.annotations import read_annotations
from tests.stages.formats.ilsvrc import GOLDFISH, TENCH, put_wsol, stem, write_tar, xml

# Six boxes of three images; one row per box, not in the order of the images.
ROWS = [
    (1, TENCH, (2, 3, 9, 10)),
    (3, GOLDFISH, (0, 0, 19, 11)),
    (1, TENCH, (0, 0, 4, 4)),
    (3, GOLDFISH, (4, 5, 4, 6)),
    (3, GOLDFISH, (7, 7, 9, 9)),
    (4, TENCH, (1, 1, 2, 2)),
]
EXPECTED = {
    1: [[2, 3, 10, 11], [0, 0, 5, 5]],
    3: [[0, 0, 20, 12], [4, 5, 5, 7], [7, 7, 10, 10]],
    4: [[1, 1, 3, 3]],
}


def table(
    header: list[str], row: Callable[[int, str, str], list[str]], numbers: type = int, **dialect: object
) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, **{"lineterminator": "\n", **dialect})
    writer.writerow(header)
    for position, (image, wnid, box) in enumerate(ROWS):
        writer.writerow(row(position, stem(image), " ".join([wnid, *(str(numbers(edge)) for edge in box)])))
    return text.getvalue().encode()


NAMES = ["ImageId", "PredictionString"]
PER_BOX = {
    "pandas": table(NAMES, lambda _, image, box: [image, box]),
    "pandas with its index": table(["", *NAMES], lambda row, image, box: [str(row), image, box]),
    "other order, more columns": table(
        ["PredictionString", "w", "ImageId"], lambda _, image, box: [box, "", image], str
    ),
    "quoted": table(NAMES, lambda _, image, box: [image, box], quoting=csv.QUOTE_ALL),
    "spreadsheet": b"\xef\xbb\xbf" + table(NAMES, lambda _, image, box: [image, box], lineterminator="\r\n"),
    "semicolons": table(NAMES, lambda _, image, box: [image, box], delimiter=";"),
    "tabs": table(NAMES, lambda _, image, box: [image, box], delimiter="\t"),
    "a spreadsheet's first line": b"sep=;\r\n" + table(NAMES, lambda _, image, box: [image, box], delimiter=";"),
    "bars, said by the first line": b"sep=|\n" + table(NAMES, lambda _, image, box: [image, box], delimiter="|"),
    "UTF-16": table(NAMES, lambda _, image, box: [image, box], delimiter="\t").decode().encode("utf-16"),
    "blanks behind commas": table(
        NAMES, lambda _, image, box: [image, f'"{box}"'], quoting=csv.QUOTE_NONE, quotechar=None
    ).replace(b",", b", "),
    "commas for blanks": table(NAMES, lambda _, image, box: [image, *box.split()]),
    "floats": table(NAMES, lambda _, image, box: [image, box], float),
    "names of files": table(NAMES, lambda _, image, box: [f"val/{image}.JPEG", f" {box} "]),
    "blank lines at the end": table(NAMES, lambda _, image, box: [image, box]) + b"\n,\n",
    "several boxes in some rows": "\n".join(
        [
            "ImageId,PredictionString",
            f"{stem(1)},{TENCH} 2 3 9 10 {TENCH} 0 0 4 4",
            f"{stem(3)},{GOLDFISH} 0 0 19 11 {GOLDFISH} 4 5 4 6",
            f"{stem(4)},{TENCH} 1 1 2 2 ",
            f"{stem(3)},{GOLDFISH} 7 7 9 9",
        ]
    ).encode(),
}


@pytest.mark.parametrize("form", PER_BOX)
def test_the_rows_of_an_image_are_merged(put, form: str) -> None:
    path = put("LOC_val_solution.csv", PER_BOX[form])
    for number in EXPECTED:
        put(f"val/{stem(number)}.JPEG", b"")
    data = read_dataset("imagenet", str(path.parent))
    assert {record.image_id: record.boxes.tolist() for record in data.records} == EXPECTED
    assert [record.label for record in data.records] == [0, 1, 0]
    assert data.notes == []


def test_a_row_that_is_repeated_counts_once(put) -> None:
    rows = PER_BOX["pandas"] + PER_BOX["pandas"].partition(b"\n")[2]
    annotations, notes = read_annotations(str(put("LOC_val_solution.csv", rows).parent))
    assert {number: annotations[stem(number)].boxes.tolist() for number in EXPECTED} == EXPECTED
    assert notes.lines() == [
        "6 lines of LOC_val_solution.csv say the same of their image as an earlier one: counted once, such as: line 8"
    ]


def test_a_row_that_cannot_be_read_leaves_the_others_of_its_image(put) -> None:
    rows = PER_BOX["pandas"] + f"{stem(4)},{TENCH} 1 1 nan 2\n{stem(4)}\n{stem(4)},{TENCH} 5 5 6\n".encode()
    annotations, notes = read_annotations(str(put("LOC_val_solution.csv", rows).parent))
    assert annotations[stem(4)].boxes.tolist() == EXPECTED[4]
    assert notes.lines() == [
        "3 lines of LOC_val_solution.csv are not 'image,wnid x y x y ...': left out, such as: line 8"
    ]


@pytest.mark.parametrize("first", ["", "sep=,\n"])
def test_a_quote_that_is_not_closed_costs_its_own_line_at_most(put, first: str) -> None:
    rows = PER_BOX["pandas"].decode() + f'{stem(7)},"{TENCH} 1 1 2 2\n"{stem(8)},{TENCH} 1 1 2 2\n'
    rows += "".join(f"{stem(number)},{TENCH} 1 1 2 2\n" for number in range(9, 9000))
    annotations, notes = read_annotations(str(put("LOC_val_solution.csv", (first + rows).encode()).parent))
    expected = EXPECTED | {number: [[1, 1, 3, 3]] for number in (7, 9, 8999)}
    assert {number: annotations[stem(number)].boxes.tolist() for number in expected} == expected
    assert notes.lines() == [
        f"1 lines of LOC_val_solution.csv are not 'image,wnid x y x y ...': left out, such as: line {9 + bool(first)}"
    ]


@pytest.mark.parametrize("place", ["Annotations/val and bbox", "a tar"])
def test_xml_files_of_one_image(put, tmp_path: Path, place: str) -> None:
    same, first, second = xml(1, TENCH, (2, 3, 9, 10)), xml(3, TENCH, (0, 0, 4, 4)), xml(3, GOLDFISH, (0, 0, 5, 5))
    if place == "a tar":
        members = {f"val/{stem(1)}.xml": same, f"val/{stem(3)}.xml": first}
        members |= {f"val2/{stem(1)}.xml": same, f"val2/{stem(3)}.xml": second}
        write_tar(tmp_path / "ILSVRC2012_bbox_val_v3.tgz", members, "w:gz")
        where, example = "within ILSVRC2012_bbox_val_v3.tgz", f", such as: {stem(3)}"
    else:
        put(f"Annotations/val/{stem(1)}.xml", same)
        put(f"Annotations/val/{stem(3)}.xml", first)
        put(f"bbox/{stem(1)}.xml", same)
        put(f"bbox/{stem(3)}.xml", second)
        put(f"bbox/{stem(4)}.xml", xml(4, TENCH, (1, 1, 2, 2)))
        where, example = "between Annotations/val and bbox", ""
    annotations, notes = read_annotations(str(tmp_path))
    assert annotations[stem(1)].boxes.tolist() == [[2, 3, 10, 11]]
    assert (annotations[stem(3)].label, annotations[stem(3)].boxes.tolist()) == (0, [[0, 0, 5, 5]])
    # An image that only the second folder knows is read from there.
    assert place == "a tar" or annotations[stem(4)].boxes.tolist() == [[1, 1, 3, 3]]
    assert notes.lines() == [
        f"1 labels differ {where}: the former is used{example}",
        f"1 images have other boxes {where}: the former is used{example}",
    ]


def test_lines_of_one_image_in_the_text_files(put, tmp_path: Path) -> None:
    put_wsol(put, "")
    one, three = f"val/{stem(1)}.JPEG", f"val/{stem(3)}.JPEG"
    put("image_ids.txt", f"{one}\n{three}\n{one}".encode())
    put("class_labels.txt", f"{one},0\n{three},1\n{one},0\n{three},2".encode())
    put("image_sizes.txt", f"{one},20,12\n{three},20.0,12.0\n{one},21,12".encode())
    put(
        "localization.txt",
        "\n".join([f"{one},2,3,9,10"] * 2 + [f"{three},4,5,4,6"] * 2 + [f"{three},0,0,9,9"]).encode(),
    )
    annotations, notes = read_annotations(str(tmp_path))
    assert [(annotations[stem(n)].label, annotations[stem(n)].width) for n in (1, 3)] == [(0, 20), (1, 20)]
    assert annotations[stem(1)].boxes.tolist() == [[2, 3, 10, 11]]
    # The published file repeats single boxes of an image that has others: they are its boxes.
    assert annotations[stem(3)].boxes.tolist() == [[4, 5, 5, 7], [4, 5, 5, 7], [0, 0, 10, 10]]
    assert notes.lines() == [
        f"1 images are in image_ids.txt more than once: they count once, such as: {one}",
        f"1 images have lines in image_sizes.txt that contradict each other: the first is used, such as: {one}",
        f"1 images have every line in localization.txt more than once: each counts once, such as: {one}",
        f"1 images have lines in class_labels.txt that contradict each other: the first is used, such as: {three}",
    ]


def test_files_of_one_image(put, tmp_path: Path) -> None:
    """The copy whose folder says the class is read; of two classes, the first."""
    put(f"val/{stem(1)}.JPEG")
    put(f"val/{TENCH}/{stem(1)}.JPEG")
    put(f"val/{TENCH}/{stem(3)}.JPEG")
    put(f"val/{GOLDFISH}/{stem(3)}.jpg")
    put(f"val/{TENCH}/{stem(4)}.JPEG")
    put(f"val/{TENCH}/{stem(4)}_{TENCH}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    assert [(record.image_id, record.label, record.file_name) for record in data.records] == [
        (1, 0, f"val/{TENCH}/{stem(1)}.JPEG"),
        (3, 0, f"val/{TENCH}/{stem(3)}.JPEG"),
        (4, 0, f"val/{TENCH}/{stem(4)}.JPEG"),
    ]
    assert data.notes[:2] == [
        f"3 images occur twice: the former is read, such as: val/{TENCH}/{stem(1)}.JPEG and val/{stem(1)}.JPEG",
        "1 of them, those in the folders of two classes: the former is the label",
    ]
