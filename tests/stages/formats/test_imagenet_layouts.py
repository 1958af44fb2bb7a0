"""Folders and tars in which people keep ImageNet, or something with its classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import DataError
from stages.formats import read_dataset
from stages.ingest.uris import read_bytes
from tests.stages.formats.ilsvrc import GOLDFISH, TENCH, stem, write_tar, xml

NUMBERED = "the class folders are numbers: N is class N of 0 to 999 in the order of the wnids (0 is tench)"
OTHERS = "3 images are not of the validation set: their ids are their ranks by name"


@pytest.mark.parametrize("name", ["ILSVRC2012_img_val.tar.gz", "ILSVRC2012_img_val.tgz", "ILSVRC2012_img_val.tar"])
@pytest.mark.parametrize("named", ["the archive", "its folder", "the folder above"])
def test_a_gzipped_tar(put, tmp_path: Path, name: str, named: str) -> None:
    (tmp_path / "data").mkdir()
    archive = tmp_path / "data" / name
    write_tar(archive, {f"ILSVRC2012_img_val/{stem(n)}.JPEG": b"image %d" % n for n in (1, 3)}, "w:gz")
    put(f"data/bbox/{stem(3)}.xml", xml(3, GOLDFISH, (0, 0, 4, 4)))
    root = {"the archive": archive, "its folder": archive.parent, "the folder above": tmp_path}[named]
    data = read_dataset("imagenet", str(root))
    assert [(one.image_id, one.label, len(one.boxes)) for one in data.records] == [(1, -1, 0), (3, 1, 1)]
    assert [read_bytes(one.uri) for one in data.records] == [b"image 1", b"image 3"]


@pytest.mark.parametrize("folder", ["imagenet/val", "ILSVRC2012/ILSVRC/Data/CLS-LOC/val", "ILSVRC2012", "my data"])
@pytest.mark.parametrize("annotations", ["", "/Annotations", " beside"])
def test_one_folder_deeper(put, tmp_path: Path, folder: str, annotations: str) -> None:
    put(f"{folder}/{stem(1)}.JPEG")
    top = folder.partition("/")[0]
    place = {"": "", "/Annotations": f"{top}/Annotations/", " beside": "boxes/"}[annotations]
    put(f"{place}{stem(1)}.xml", xml(1, TENCH, (0, 0, 4, 4)))
    data = read_dataset("imagenet", str(tmp_path))
    assert [(one.file_name, one.label, one.boxes.tolist()) for one in data.records] == [
        (f"{folder}/{stem(1)}.JPEG", 0, [[0, 0, 5, 5]])
    ]
    assert data.notes == [f"the images are those in {tmp_path}/{top}"]


def test_other_parts_beside_it_are_not_read(put, tmp_path: Path) -> None:
    put(f"train/{TENCH}/{TENCH}_1.JPEG")
    put(f"test/{TENCH}/{TENCH}_1.JPEG")
    with pytest.raises(DataError, match="it has only folders: test, train"):
        read_dataset("imagenet", str(tmp_path))
    put(f"set/val/{stem(1)}.JPEG")
    assert [one.image_id for one in read_dataset("imagenet", str(tmp_path)).records] == [1]


@pytest.mark.parametrize(
    "folder",
    ["n01443537", "n01443537-goldfish", "n01443537_goldfish", "n01443537.goldfish", "n01443537 x", "1.n01443537"],
)
def test_a_wnid_with_more_words(put, tmp_path: Path, folder: str) -> None:
    put(f"val/{folder}/{stem(1)}.JPEG")
    put(f"val/{folder}/{stem(2)}_n01443537.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    assert [(one.image_id, one.label) for one in data.records] == [(1, 1), (2, 1)]
    assert [info.wnid for info in read_dataset("imagefolder", str(tmp_path), split="val").classes] == ["n01443537"]


@pytest.mark.parametrize("root", ["", "imagenetv2-matched-frequency-format-val", "tar"])
@pytest.mark.parametrize("pad", [1, 4])
def test_numbered_folders_count_classes_not_text(put, tmp_path: Path, root: str, pad: int) -> None:
    """As ImageNetV2 has them: as text, 10 would be before 2."""
    names = [f"{label:0{pad}d}/{name}.jpeg" for label, name in ((0, "b"), (2, "a"), (10, "c"))]
    if root == "tar":
        write_tar(tmp_path / "v2.tar.gz", {f"imagenetv2-val/{name}": b"x" for name in names}, "w:gz")
        data = read_dataset("imagenet", str(tmp_path / "v2.tar.gz"))
    else:
        for name in names:
            put(f"{root}/{name}" if root else name)
        data = read_dataset("imagenet", str(tmp_path))
    found = {one.file_name.rpartition("/")[2]: one.label for one in data.records}
    assert found == {"b.jpeg": 0, "a.jpeg": 2, "c.jpeg": 10}
    assert [one.image_id for one in data.records] == [1, 2, 3]
    deeper = [f"the images are those in {tmp_path / root}"] if root.startswith("imagenet") else []
    assert data.notes[:-1] == [*deeper, OTHERS, NUMBERED] and "no boxes" in data.notes[-1]


def test_numbered_folders_of_validation_images(put, tmp_path: Path) -> None:
    for number, folder in ((1, "1"), (2, "10"), (3, "1000"), (4, "0"), (5, "2012")):
        put(f"val/{folder}/{stem(number)}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    # 2012 is no class: folders of that name are not looked into.
    assert [(one.image_id, one.label) for one in data.records] == [(1, 1), (2, 10), (3, -1), (4, 0)]
    assert NUMBERED in data.notes
    assert "1 images lie in a folder whose number is outside 0 to 999: they have no label" in data.notes
    assert "1 images have no label" in data.notes


def test_folders_that_are_numbered_from_1(put, tmp_path: Path) -> None:
    for number, folder in ((1, "1"), (2, "10"), (3, "1000")):
        put(f"val/{folder}/{stem(number)}.JPEG")
    data = read_dataset("imagenet", str(tmp_path))
    assert [one.label for one in data.records] == [-1, -1, -1]
    assert data.notes[0].startswith("the class folders are numbered 1 to 1000, which may be two orders")


def test_images_of_other_names_in_folders_of_wnids(put, tmp_path: Path) -> None:
    put(f"{GOLDFISH}/sketch_1.JPEG")
    put(f"{TENCH}/sketch_1.JPEG")
    put(f"{TENCH}/.hidden.JPEG")
    put("loose.jpg")
    put("n99999999/x.png")
    data = read_dataset("imagenet", str(tmp_path))
    assert [(one.file_name, one.label) for one in data.records] == [
        (f"{TENCH}/sketch_1.JPEG", 0),
        (f"{GOLDFISH}/sketch_1.JPEG", 1),
        ("n99999999/x.png", -1),
    ]
    assert data.notes[:2] == ["skipped 1 images that are in no class folder", OTHERS]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "it is empty"),
        (["notes.md", "a.xml", "b.xml"], r"skipped 3 files: \.md 1, \.xml 2"),
        (["cats/a/1.md", "dogs/a/1.md"], "it has only folders: cats, dogs"),
        (["val/images/val_0.JPEG"], r"no image under .* lies in a class folder \(such as val/images/val_0\.JPEG\)"),
        (["cats/1.jpg"], r"no image under .* lies in a class folder \(such as cats/1\.jpg\); the format imagefolder"),
    ],
)
def test_nothing_to_read_says_what_is_there(put, tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        put(name)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset("imagenet", str(tmp_path))
    assert ("it is empty" in str(caught.value)) == (not files)
