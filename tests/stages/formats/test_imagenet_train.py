"""The ILSVRC2012 training set: a tar of class tars read in place, class tars, class folders; boxes, if any."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from stages.classes import imagenet_classes
from stages.errors import DataError
from stages.formats import read_dataset
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import open_file, read_bytes
from tests.stages.formats.ilsvrc import GOLDFISH, TENCH, write_tar, xml

NAMES = {TENCH: [f"{TENCH}_18.JPEG", f"{TENCH}_10026.JPEG"], GOLDFISH: [f"{GOLDFISH}_7.JPEG"]}
IDS = {f"{TENCH}_18": 18, f"{TENCH}_10026": 10026, f"{GOLDFISH}_7": 1_000_007}
CSV = f"""ImageId,PredictionString
{GOLDFISH}_7,{GOLDFISH} 0 0 19 11 {GOLDFISH} 4 5 4 6{" "}
{TENCH}_18,{TENCH} 2 3 9 10{" "}
"""
XML = {
    f"{TENCH}/{TENCH}_18.xml": xml(1, TENCH, (2, 3, 9, 10)),
    f"{GOLDFISH}/{GOLDFISH}_7.xml": xml(3, GOLDFISH, (0, 0, 19, 11), (4, 5, 4, 6)),
}
TAR = "ILSVRC2012_img_train.tar"


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def contents(encode) -> dict[str, bytes]:
    """Three images that differ in their bytes."""
    names = [name for own in NAMES.values() for name in own]
    return {name: encode("JPEG", quality=quality) for name, quality in zip(names, (50, 70, 90), strict=True)}


def put_images(put, root: Path, contents: dict[str, bytes], layout: str) -> str:
    """The images in one of the layouts; returns the root that the user would name."""
    tars = {f"{wnid}.tar": tar_of({name: contents[name] for name in own}) for wnid, own in NAMES.items()}
    if "tar of tars" in layout:
        write_tar(root / f"{TAR}{'.gz' * ('gzipped' in layout)}", tars, "w:gz" if "gzipped" in layout else "w")
        return str(root / TAR if "as root" in layout else root)
    folder = "ILSVRC/Data/CLS-LOC/train/" if "kaggle" in layout else "train/" if "train" in layout else ""
    for at, (wnid, own) in enumerate(NAMES.items()):
        if "class tars" in layout or ("both" in layout and at):
            put(f"{folder}{wnid}.tar", tars[f"{wnid}.tar"])
        for name in () if "class tars" in layout or ("both" in layout and at) else own:
            put(f"{folder}{wnid}/{name}", contents[name])
    return str(root / folder) if "deep root" in layout else str(root)


def put_annotations(put, root: Path, form: str) -> None:
    if form == "csv":
        put("LOC_train_solution.csv", CSV.encode())
    elif form == "tar":
        write_tar(root / "ILSVRC2012_bbox_train_v2.tar.gz", XML, "w:gz")
    else:
        for name, content in XML.items():
            put(f"{form}{name}", content)


@pytest.mark.parametrize(
    "layout",
    [
        *("tar of tars", "tar of tars as root", "gzipped tar of tars", "class tars", "train, class tars"),
        *("folders", "train, folders", "kaggle, folders", "kaggle, folders, deep root", "both"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "tar", "ILSVRC/Annotations/CLS-LOC/train/", "Annotation/", ""])
def test_every_layout_with_every_annotation(put, contents, tmp_path: Path, layout: str, form: str) -> None:
    root = put_images(put, tmp_path, contents, layout)
    put_annotations(put, tmp_path, form)
    before = sorted(tmp_path.rglob("*"))
    data = read_dataset("imagenet-train", root)
    found = {record.file_name.rpartition("/")[2].partition(".")[0]: record for record in data.records}
    # Ids, labels and the ends of the names are the same whatever the layout.
    assert {stem: record.image_id for stem, record in found.items()} == IDS
    assert [record.label for record in data.records] == [0, 0, 1]
    assert [record.file_name.rpartition("/")[2] for record in data.records] == list(contents)
    assert [record.file_name.split("/")[-2] for record in data.records] == [TENCH, TENCH, GOLDFISH]
    for record, content in zip(data.records, contents.values(), strict=True):
        assert read_bytes(record.uri) == content and read_bytes(record.uri, 3) == content[:3]
        with open_file(record.uri) as file:
            assert file.read() == content
    boxes = [record.boxes.tolist() for record in data.records]
    assert boxes == [[[2, 3, 10, 11]], [], [[0, 0, 20, 12], [4, 5, 5, 7]]]
    assert data.records[2].box_labels.tolist() == [1, 1]
    assert data.classes == list(imagenet_classes())
    assert data.notes == ["2 of 3 images are annotated with boxes; the others have labels only"]
    assert sorted(tmp_path.rglob("*")) == before
    assert {(record.width, record.height) for record in fill_sizes(data).records} == {(20, 12)}


def test_an_inner_image_is_read_at_its_place_in_the_outer_tar(put, contents, tmp_path: Path) -> None:
    put_images(put, tmp_path, contents, "tar of tars")
    data = read_dataset("imagenet-train", str(tmp_path))
    for record, content in zip(data.records, contents.values(), strict=True):
        assert record.uri.startswith(f"tar:{tmp_path / TAR}?offset=") and record.uri.count("tar:") == 1
        offset = int(record.uri.partition("offset=")[2].partition("&")[0])
        assert (tmp_path / TAR).read_bytes()[offset:].startswith(content)
    assert data.notes == [f"no annotations in {tmp_path}: no boxes, and the labels of the names"]


def test_ids_do_not_depend_on_what_else_is_there(put, contents, tmp_path: Path) -> None:
    put_images(put, tmp_path, contents, "folders")
    put("n00001740/n00001740_5.JPEG")
    (tmp_path / f"{TENCH}/{TENCH}_18.JPEG").unlink()
    data = read_dataset("imagenet-train", str(tmp_path))
    assert [(record.image_id, record.label) for record in data.records] == [
        (10026, 0),
        (1_000_007, 1),
        (1_740_000_005, -1),
    ]
    assert (
        "1 images are of a wnid outside the 1000 classes: they have no label, such as: n00001740/n00001740_5.JPEG"
        in data.notes
    )


def test_mistakes_cost_their_file(put, contents, tmp_path: Path) -> None:
    whole = tar_of({name: contents[name] for name in NAMES[TENCH]} | {f"{GOLDFISH}_9.JPEG": b"x", "holiday.jpg": b"x"})
    inner = {
        f"{TENCH}.tar": whole,
        f"{GOLDFISH}.tar": tar_of({name: contents[name] for name in NAMES[GOLDFISH]})[:700],
        "n01484850.tar": tar_of({"n01484850_1.JPEG": b"x"}, "w:gz"),
        f"{TENCH}/{TENCH}_18.jpeg": b"again",
        "README": b"x",
    }
    write_tar(tmp_path / TAR, inner)
    put("LOC_train_solution.csv", f"{CSV}{TENCH}_10026,{GOLDFISH} 1 1 5 5\n{TENCH}_18,{TENCH} 1 2\n".encode())
    data = read_dataset("imagenet-train", str(tmp_path))
    assert [(record.image_id, record.label) for record in data.records] == [(18, 0), (10026, 0), (1_000_009, 1)]
    assert [record.box_labels.tolist() for record in data.records] == [[0], [1], []]
    assert data.notes == [
        "2 class tars cannot be read: their images are left out, such as: cannot read the tar file "
        f"{GOLDFISH}.tar in {tmp_path / TAR}: unexpected end of data; fetch it again",
        f"1 images lie in another class's folder: their name decides, such as: {TENCH}/{GOLDFISH}_9.JPEG",
        "1 images are not named n########_#: left out",
        f"1 images occur twice: the former is read, such as: {TENCH}/{TENCH}_18.JPEG and {TENCH}/{TENCH}_18.jpeg",
        "2 of 3 images are annotated with boxes; the others have labels only",
        f"1 of 3 annotated images are not in {tmp_path}",
        "1 lines of LOC_train_solution.csv are not 'image,wnid x y x y ...': left out, such as: line 5",
        "1 images have boxes of another class than their name says, which is the label",
    ]


def test_other_things(put, contents, tmp_path: Path) -> None:
    put("pets/cat.jpg")
    for root, message in (
        (tmp_path / "pets", r"no image under .* is named n########_#"),
        (tmp_path / "pets/cat.jpg", "is neither a folder nor a tar file"),
        (tmp_path / "gone", "no folder "),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read_dataset("imagenet-train", str(root))
        assert caught.value.about == "root" and "\n" not in str(caught.value)
    put_images(put, tmp_path, contents, "tar of tars")
    (tmp_path / TAR).write_bytes((tmp_path / TAR).read_bytes()[:3000])
    with pytest.raises(DataError, match=f"{TAR}: unexpected end of data; fetch it again"):
        read_dataset("imagenet-train", str(tmp_path))
