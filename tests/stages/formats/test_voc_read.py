"""Pascal VOC as people have it: lists, difficult objects, parts of objects, other conventions, and what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stages.boxes.iou import iou
from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.ingest.sizes import fill_sizes
from tests.stages.formats.exported import CLASSES, IMAGES, write


def annotation(*objects, width=40, height=30):
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>lies.png</filename>{size}{''.join(objects)}</annotation>"


def thing(name, *edges, more=""):
    box = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


@pytest.fixture
def put(tmp_path):
    """Writes an image and, where it is given, its annotation, in the published layout."""

    def write(stem, xml=None, folder="Annotations"):
        path = tmp_path / "JPEGImages" / f"{stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(path)
        if xml is not None:
            path = tmp_path / folder / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(xml, encoding="utf-8")
        return tmp_path

    return write


def list_of(root, name, *lines):
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(root, **options):
    return fill_sizes(read_dataset("voc", str(root), **options))


def boxes(dataset):
    return {one.file_name: one.boxes.tolist() for one in dataset.records}


def test_what_was_exported_comes_back(tmp_path):
    data = read(write(tmp_path, "voc"))
    assert [info.name for info in data.classes] == [info.name for info in CLASSES]
    found = {one.file_name: one for one in data.records}
    for image, labels in IMAGES:
        one = found[image.file_name]
        assert (one.width, one.height) == (image.width, image.height)
        whole = [[np.floor(x0), np.floor(y0), np.ceil(x1), np.ceil(y1)] for x0, y0, x1, y1 in (x.box for x in labels)]
        assert one.boxes.tolist() == whole and one.box_labels.tolist() == [label.class_index for label in labels]
    assert found["sub/été 1.jpg"].label == 1, "the class with most area"


def test_difficult_objects_and_parts_of_objects_are_no_ground_truth(put):
    head = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    root = put(
        "a",
        annotation(
            thing("cat", 3, 4, 10, "12.0", more=head), thing("dog", 1, 1, 9, 9, more="<difficult>1</difficult>")
        ),
    )
    data = read(root)
    assert boxes(data) == {"a.jpg": [[2, 3, 10, 12]]} and [info.name for info in data.classes] == ["cat"]
    assert "1 objects are difficult, neither found nor missed: left out" in data.notes


@pytest.mark.parametrize(
    ("first", "last", "expected", "said"),
    [
        ((1, 5), (10, 12), [[0, 4, 10, 12]], "counted from 1"),
        ((0, 5), (10, 12), [[0, 5, 11, 13]], "counted from 0"),
        ((0, 5), (40, 12), [[0, 5, 40, 12]], "half-open edges"),
        ((0, "5.5"), (40, "12.25"), [[0, 5.5, 40, 12.25]], "half-open edges"),
        (("0.5", 5), (40, 12), [[0.5, 5, 40, 12]], "half-open edges"),
        ((-3, 5), (10, 12), [[0, 4, 10, 12]], "counted from 1"),
    ],
)
def test_the_numbers_say_what_they_are_and_so_can_the_user(put, first, last, expected, said):
    root = put("a", annotation(thing("cat", *first, *last)))
    data = read(root)
    assert boxes(data)["a.jpg"] == expected and any(said in note for note in data.notes)
    stated = read(root, origin="edges")
    assert boxes(stated)["a.jpg"] == [[max(float(first[0]), 0), float(first[1]), *map(float, last)]]
    assert not any("data.origin" in note for note in stated.notes)


def test_parts_are_chosen_and_lists_of_classes_label_what_has_no_file(put):
    root = put("1", annotation(thing("cat", 2, 2, 9, 9)))
    put("a 1", annotation(thing("dog", 2, 2, 9, 9)))
    put("2")
    list_of(root, "train", "1", "gone")
    list_of(root, "test", "a 1", "2", "2")
    list_of(root, "dog_test", "a 1  1", "2 -1")
    list_of(root, "cat_test", "a 1 -1", "2  0")
    data = read(root)
    assert [(one.file_name, one.label) for one in data.records] == [("2.jpg", 0), ("a 1.jpg", 1)]
    assert [info.name for info in data.classes] == ["cat", "dog"]
    assert "the images of test.txt are taken; data.split takes train" in data.notes
    assert (
        "1 images have no XML file" in data.notes and "1 lines of test.txt are repeated: they count once" in data.notes
    )
    train = read(root, split="train")
    assert [one.file_name for one in train.records] == ["1.jpg"]
    assert "1 images of train.txt are not there: left out, such as: gone" in train.notes
    with pytest.raises(ConfigurationError, match=r"has no mine\.txt; it has test, train") as caught:
        read(root, split="mine")
    assert caught.value.about == "split"


def test_files_beside_the_images_and_the_folder_of_a_year(tmp_path):
    for folder in ("pictures/x", "kit/VOC2007/JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / folder / "a.b.png")
    (tmp_path / "pictures" / "x" / "a.b.xml").write_text(annotation(thing("cat", 2, 2, 9, 9)))
    assert boxes(read(tmp_path / "pictures")) == {"x/a.b.png": [[1, 1, 9, 9]]}
    (tmp_path / "kit" / "VOC2007" / "Annotations").mkdir()
    (tmp_path / "kit" / "VOC2007" / "Annotations" / "a.b.xml").write_text(annotation(thing("cat", 2, 2, 9, 9)))
    assert boxes(read(tmp_path / "kit")) == {"a.b.png": [[1, 1, 9, 9]]}
    (tmp_path / "kit" / "VOC2012" / "Annotations").mkdir(parents=True)
    (tmp_path / "kit" / "VOC2012" / "Annotations" / "c.xml").write_text(annotation())
    with pytest.raises(DataError, match=r"holds several datasets; choose one by data\.root: .*VOC2007, .*VOC2012"):
        read(tmp_path / "kit")


@pytest.mark.parametrize(
    ("picture", "file"),
    [
        ("images/a.jpg", "annotations/a.xml"),
        ("images/a.jpg", "images/a.xml"),
        ("images/cat/a.jpg", "annotations/xmls/cat/a.xml"),
        ("pictures/a.jpg", "pictures/a.xml"),
        ("JPEGImages/e\u0301 1.jpg", "Annotations/\u00e9 1.XML"),
    ],
)
def test_files_belong_to_the_image_whose_name_ends_their_path(tmp_path, picture, file):
    for name in (picture, file):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(tmp_path / picture)
    (tmp_path / file).write_text(annotation(thing("cat", 2, 2, 9, 9)))
    assert list(boxes(read(tmp_path)).values()) == [[[1, 1, 9, 9]]]


def test_two_files_about_one_image(put, tmp_path):
    put("a", annotation(thing("cat", 2, 2, 9, 9)))
    put("a", annotation(thing("dog", 2, 2, 5, 5)), folder="Annotations/old")
    data = read(tmp_path)
    assert boxes(data) == {"a.jpg": [[1, 1, 9, 9]]}
    assert any(note.startswith("1 XML files are about the image of another one: left out") for note in data.notes)


def test_parts_in_folders_without_lists(tmp_path):
    for part, stem in (("train", "a"), ("valid", "b"), ("valid", "c")):
        (tmp_path / part).mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / part / f"{stem}.jpg")
        if stem != "c":
            (tmp_path / part / f"{stem}.xml").write_text(annotation(thing("cat", 2, 2, 9, 9)))
    data = read(tmp_path)
    assert list(boxes(data)) == ["valid/b.jpg"]
    assert "the images of valid/ are taken; data.split takes train" in data.notes
    assert "1 images have no XML file: left out" in data.notes
    assert list(boxes(read(tmp_path, split="train"))) == ["train/a.jpg"]
    with pytest.raises(ConfigurationError, match="has no part 'tset'; it has train, valid"):
        read(tmp_path, split="tset")


def test_what_is_wrong_is_counted(put, tmp_path):
    put("good", annotation(thing("cat", 5, 5, 9, 9)))
    put("broken", "<annotation><object>")
    put("bomb", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    put(
        "odd",
        annotation(
            thing("cat", 9, 9, 3, 12), thing("cat", "x", 1, 2, 3), thing("", 1, 1, 2, 2), thing("cat", 30, 5, 60, 9)
        ),
    )
    (tmp_path / "Annotations" / "without.xml").write_text(annotation())
    data = read(tmp_path)
    assert boxes(data) == {"bomb.jpg": [], "broken.jpg": [], "good.jpg": [[4, 4, 9, 9]], "odd.jpg": [[29, 4, 40, 9]]}
    for note in (
        "1 annotated images are not there: left out, such as: without",
        "2 XML files cannot be read: their images have no annotation, such as: Annotations/bomb.xml",
        "2 objects lack a name or a box: left out, such as: Annotations/odd.xml",
        "1 boxes dropped: empty, inverted or outside their image",
        "1 boxes clipped: they end outside their image",
    ):
        assert note in data.notes
    with pytest.raises(DataError, match=r"no folder .*absent"):
        read(tmp_path / "absent")


def test_the_raccoons_score_as_measured(layouts):
    data = read(layouts / "voc-raccoon")
    assert len(data.records) == 60 and sum(len(one.boxes) for one in data.records) == 64
    best = np.array(
        [
            max(float(iou(np.array([0.0, 0, one.width, one.height]), box.astype(float))) for box in one.boxes)
            for one in data.records
        ]
    )
    assert [int((best >= level).sum()) for level in (0.3, 0.5, 0.7)] == [51, 32, 16]
    assert best.mean() == pytest.approx(0.543343, abs=1e-6)


@pytest.mark.parametrize("layout", ["voc", "vocf"])
def test_the_four_images_are_those_of_their_coco_layout(layouts, layout):
    data, coco = read(layouts / "tiny" / layout), fill_sizes(read_dataset("coco", str(layouts / "tiny" / "coco")))
    assert data.classes == coco.classes
    expected = {one.file_name.removeprefix("images/default/"): one for one in coco.records}
    assert {one.file_name for one in data.records} == set(expected)
    for one in data.records:
        other = expected[one.file_name]
        assert (one.label, one.width, one.height) == (other.label, other.width, other.height)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0 if layout == "vocf" else 0.5)
