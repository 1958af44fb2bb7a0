from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from stages.classes import imagenet_classes
from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.formats.imagenet.annotations import read_annotations
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import read_bytes
from tests.stages.formats.ilsvrc import GOLDFISH, TENCH, put_wsol, stem, write_tar, xml

METADATA = Path(__file__).resolve().parents[3] / "../shared/data/wsol-metadata"
CSV = f"""ImageId,PredictionString
ILSVRC2012_val_00000003,{GOLDFISH} 0 0 19 11 {GOLDFISH} 4 5 4 6
ILSVRC2012_val_00000001,{TENCH} 2 3 9 10{" "}
"""
BOXES = {1: [[2, 3, 10, 11]], 3: [[0, 0, 20, 12], [4, 5, 5, 7]]}
XML = {1: xml(1, TENCH, (2, 3, 9, 10)), 3: xml(3, GOLDFISH, (0, 0, 19, 11), (4, 5, 4, 6))}


def put_images(put, root: Path, encode, layout: str) -> str:
    """The images 1 and 3 in one of the layouts; returns the root that the user would name."""
    names = [f"{stem(number)}.JPEG" for number in (1, 3)]
    data = encode("JPEG")
    if layout.startswith("tar"):
        members = dict.fromkeys(names, data)
        write_tar(root / "ILSVRC2012_img_val.tar", members)
        return str(root / "ILSVRC2012_img_val.tar" if layout == "tar as root" else root)
    folders = {
        "kaggle": "ILSVRC/Data/CLS-LOC/val/",
        "kaggle, deep root": "ILSVRC/Data/CLS-LOC/val/",
        "flat": "",
        "val": "val/",
        "val as root": "val/",
    }
    for name, wnid in zip(names, (TENCH, GOLDFISH), strict=True):
        put(f"val/{wnid}/{name}" if layout == "wnid" else folders[layout] + name, data)
    return str(root / folders[layout]) if layout in ("val as root", "kaggle, deep root") else str(root)


def put_annotations(put, root: Path, form: str) -> None:
    if form == "csv":
        put("LOC_val_solution.csv", CSV.encode())
    elif form.startswith("xml"):
        for number, content in XML.items():
            put(f"{form.partition(' ')[2]}{stem(number)}.xml", content)
    elif form == "tgz":
        members = {f"val/{stem(number)}.xml": content for number, content in XML.items()}
        write_tar(root / "ILSVRC2012_bbox_val_v3.tgz", members, "w:gz")
    else:
        put_wsol(put, form.partition(" ")[2], zipped="gz" in form)


@pytest.mark.parametrize(
    "layout",
    ["tar", "tar as root", "kaggle", "kaggle, deep root", "flat", "val", "val as root", "wnid"],
)
@pytest.mark.parametrize(
    "form",
    [
        "csv",
        "xml ILSVRC/Annotations/CLS-LOC/val/",
        "xml bbox/val/",
        "xml val/",
        "tgz",
        "wsol ILSVRC/test/",
        "wsol-gz ",
    ],
)
def test_every_layout_with_every_annotation(put, encode, tmp_path, layout: str, form: str) -> None:
    root = put_images(put, tmp_path, encode, layout)
    put_annotations(put, tmp_path, form)
    before = sorted(tmp_path.rglob("*"))
    data = read_dataset("imagenet", root)
    assert [(record.image_id, record.label) for record in data.records] == [(1, 0), (3, 1)]
    for record in data.records:
        assert record.boxes.tolist() == BOXES[record.image_id]
        assert record.box_labels.tolist() == [record.label] * len(record.boxes)
        assert (record.width, record.height) == ((0, 0) if form == "csv" else (20, 12))
        assert read_bytes(record.uri) == encode("JPEG")
        assert record.file_name.endswith(f"{stem(record.image_id)}.JPEG")
        assert not record.file_name.startswith("/")
    assert data.classes == list(imagenet_classes()) and data.notes == []
    assert sorted(tmp_path.rglob("*")) == before
    assert {(record.width, record.height) for record in fill_sizes(data).records} == {(20, 12)}


def test_a_part_of_the_set_and_images_without_annotation(put, tmp_path) -> None:
    put("LOC_val_solution.csv", CSV.encode())
    put(f"val/{stem(3)}.jpg")
    put(f"val/{stem(50000)}_{TENCH}.JPEG")
    put("val/holiday.jpg")
    data = read_dataset("imagenet", str(tmp_path))
    assert [(record.image_id, record.label, len(record.boxes)) for record in data.records] == [
        (3, 1, 2),
        (50000, 0, 0),
    ]
    assert data.notes == [
        "skipped 1 images that are not named ILSVRC2012_val_########",
        f"1 of 2 annotated images are not in {tmp_path}",
        "1 images have no annotation",
    ]


def test_without_annotations(put, tmp_path) -> None:
    put(f"{stem(7)}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    assert [(record.image_id, record.label) for record in data.records] == [(7, -1)]
    assert data.notes == [f"no annotations in {tmp_path}: no boxes, and only the labels of the folders"]


def test_contradictions_are_counted(put, tmp_path) -> None:
    put("LOC_val_solution.csv", CSV.encode())
    put(f"Annotations/{stem(1)}.xml", xml(1, GOLDFISH, (2, 3, 9, 10)))
    put(f"Annotations/{stem(3)}.xml", xml(3, GOLDFISH, (0, 0, 499, 374), size=(500, 375)))
    put(f"Annotations/{stem(4)}.xml", xml(4, "n99999999", (0, 0, 5, 5)))
    put(f"Annotations/{stem(5)}.xml", b"<annotation>")
    (tmp_path / f"Annotations/{stem(7)}.xml").symlink_to(tmp_path / "nowhere")
    put(f"Annotations/{stem(6)}.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    put(f"val/{GOLDFISH}/{stem(1)}.JPEG")
    put(f"val/n00000000/{stem(3)}.JPEG")
    put(f"val/{TENCH}/{stem(4)}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    # The size of image 3 belongs to other boxes than the CSV's, so it is not taken.
    assert [(record.label, record.width) for record in data.records] == [(0, 20), (1, 0), (0, 20)]
    assert data.records[2].boxes.tolist() == [[0, 0, 6, 6]] and data.records[2].box_labels.tolist() == [-1]
    assert set(data.notes) == {
        "3 XML files cannot be read: their images have no annotation from them, such as: ILSVRC2012_val_00000005.xml",
        "1 boxes with a wnid outside the 1000 classes: they have no label",
        "1 labels differ between LOC_val_solution.csv and Annotations: the former is used",
        "1 images have other boxes between LOC_val_solution.csv and Annotations: the former is used",
        "1 images lie in another class's folder: their annotation decides",
        "1 images lie in a folder of a wnid outside the 1000 classes",
    }


def test_coordinates_and_sizes_with_decimals(put, tmp_path) -> None:
    content = xml(1, TENCH, (2.5, 3.0, 9.25, 10.0), size=(20.0, 12.0))
    put(f"Annotations/{stem(1).lower()}.XML", content)
    put(f"Annotations/{stem(3)}.xml", xml(3, TENCH, (0, 0, 4, 4), size=(20.5, 12)))
    put(f"{stem(1)}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    assert data.records[0].boxes.tolist() == [[2.5, 3, 10.25, 11]] and data.records[0].width == 20
    assert data.notes == [
        f"1 XML files cannot be read: their images have no annotation from them, such as: {stem(3)}.xml"
    ]


def test_bad_boxes_are_dropped_and_counted(put, tmp_path) -> None:
    boxes = [(5, 5, 3, 9), (30, 2, 40, 5), (-4, 0, 25, 11), (7, 7, 7, 7)]
    put(f"Annotations/{stem(1)}.xml", xml(1, TENCH, *boxes))
    put(f"{stem(1)}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    assert data.records[0].boxes.tolist() == [[0, 0, 20, 12], [7, 7, 8, 8]]
    assert data.notes == [
        "2 boxes dropped: inverted or outside their image",
        "1 boxes clipped: they end outside their image",
    ]


def test_links_and_unsafe_names_in_the_tar_are_counted(put, encode, tmp_path) -> None:
    root = put_images(put, tmp_path, encode, "tar")
    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "a") as tar:
        link = tarfile.TarInfo(f"{stem(2)}.JPEG")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = read_dataset("imagenet", root)
    assert [record.image_id for record in data.records] == [1, 3]
    assert data.notes[0].startswith("1 links or unsafe names in ")


def test_unusable_roots(put, tmp_path) -> None:
    put("holiday.jpg")
    with pytest.raises(DataError, match="imagefolder"):
        read_dataset("imagenet", str(tmp_path))
    with pytest.raises(DataError, match="neither a folder nor a tar"):
        read_dataset("imagenet", str(tmp_path / "holiday.jpg"))
    write_tar(tmp_path / "other.tar", {"a.txt": b"x"})
    with pytest.raises(DataError, match=r"no images under .*other\.tar \(skipped 1 files: \.txt 1\)"):
        read_dataset("imagenet", str(tmp_path / "other.tar"))
    with pytest.raises(ConfigurationError, match="no split 'train'; choose val") as caught:
        read_dataset("imagenet", str(tmp_path), split="train")
    assert caught.value.about == "split"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("LOC_val_solution.csv", "a,b\n", "line 1 is not ImageId,PredictionString"),
        ("image_sizes.txt.gz", "not gzip", "cannot read .*: Not a gzipped file"),
    ],
)
def test_annotations_that_are_not_what_their_name_says(put, tmp_path, name: str, content: str, message: str) -> None:
    put_wsol(put, "")
    if name.endswith(".gz"):
        (tmp_path / name.removesuffix(".gz")).unlink()
    put(name, content.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_annotations(str(tmp_path))
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        (
            "LOC_val_solution.csv",
            f"ImageId,PredictionString\nx,{TENCH} 1 2 3\n{stem(3)},{GOLDFISH} 0 0 19 11\n{stem(1)},{TENCH} 1 2 3 b\n",
            "2 lines of LOC_val_solution.csv are not 'image,wnid x y x y ...': left out, such as: line 2",
        ),
        (
            "localization.txt",
            f"val/{stem(3)}.JPEG,0,0,19,11\nval/{stem(1)}.JPEG,1,2,3\nval/{stem(1)}.JPEG,a,1,2,3\n",
            "2 lines of localization.txt lack 4 integers after the name: left out, such as: line 2",
        ),
        (
            "class_labels.txt",
            f"val/{stem(1)}.JPEG,1000\nval/{stem(3)}.JPEG,1\n",
            "1 images of class_labels.txt have a class outside 0 to 999: they have no label, "
            f"such as: val/{stem(1)}.JPEG with 1000",
        ),
    ],
)
def test_a_malformed_line_costs_one_image(put, tmp_path, name: str, content: str, note: str) -> None:
    put_wsol(put, "")
    put(name, content.encode())
    annotations, notes = read_annotations(str(tmp_path))
    assert note in notes.lines()
    assert annotations[stem(3)].label == 1 and annotations[stem(3)].boxes[0].tolist() == [0, 0, 20, 12]
    assert name != "class_labels.txt" or annotations[stem(1)].label == -1


def test_incomplete_text_files(put, tmp_path) -> None:
    put_wsol(put, "")
    (tmp_path / "image_sizes.txt").unlink()
    with pytest.raises(DataError, match=r"no image_sizes\.txt"):
        read_annotations(str(tmp_path))


@pytest.mark.skipif(not METADATA.is_dir(), reason="needs ../shared/data/wsol-metadata beside the repository")
@pytest.mark.slow  # seven seconds
def test_annotations_of_the_whole_validation_set() -> None:
    annotations, notes = read_annotations(str(METADATA))
    assert len(annotations) == 50_000 and notes.lines() == []
    assert sum(len(found.boxes) for found in annotations.values()) == 80_477
    assert np.bincount([found.label for found in annotations.values()]).tolist() == [50] * 1000
    first = annotations[stem(1)]
    assert (first.label, first.width, first.height) == (65, 500, 375)
    assert first.boxes.tolist() == [[111, 108, 442, 194]]
