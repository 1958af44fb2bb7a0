"""Tables of labels and boxes as people have them: what their columns are, and what is wrong in them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.formats.csv.rows import labels_in
from stages.formats.labels import Split
from stages.formats.table import FORMATS
from stages.ingest.sizes import fill_sizes
from tests.stages.formats.exported import CLASSES, IMAGES, write

NAMES = ("a.jpg", "b.v1.jpg", "sub/été 1.jpg")


@pytest.fixture
def put(tmp_path):
    """Writes a table beside images of 40 x 20 pixels."""

    def write(text, name="labels.csv", images=NAMES, encoding="utf-8"):
        for image in images:
            (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 20)).save(tmp_path / image)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path

    return write


def read(root, **options):
    return fill_sizes(read_dataset("csv", str(root), **options))


def boxes(dataset):
    return {one.file_name: one.boxes.round(3).tolist() for one in dataset.records}


def shown(dataset):
    return {one.file_name: [dataset.classes[at].name for at in one.shown] for one in dataset.records}


def test_what_was_exported_comes_back(tmp_path):
    data = read(write(tmp_path, "csv"))
    assert data.classes == CLASSES
    assert [(one.image_id, one.file_name) for one in data.records] == [(i.image_id, i.file_name) for i, _ in IMAGES]
    for one, (image, labels) in zip(data.records, IMAGES, strict=True):
        assert (one.width, one.height) == (image.width, image.height)
        assert one.boxes.tolist() == [list(label.box) for label in labels]
        assert one.box_labels.tolist() == [label.class_index for label in labels]
    assert [one.label for one in data.records] == [1, 2, 1, -1], "the class with most area"
    assert not any("left out" in note or "dropped" in note or "clipped" in note for note in data.notes)


def test_the_parts_of_an_export(tmp_path):
    write(tmp_path, "csv")
    parts = [Split("train", lambda: IMAGES[:3]), Split("val", lambda: IMAGES[3:])]
    for name, pieces in FORMATS["csv"].writer()(parts, [*CLASSES[::-1]], ""):
        (tmp_path / name).write_bytes(b"".join(pieces))
    data = read(tmp_path)
    assert [(one.image_id, one.file_name) for one in data.records] == [(4, "none.jpg")] and data.classes == CLASSES[
        ::-1
    ]
    assert "the rows of val are taken; data.split takes train" in data.notes
    assert [one.image_id for one in read(tmp_path, split="train").records] == [1, 2, 3]
    with pytest.raises(ConfigurationError, match="has no part 'tset'; it has train, val"):
        read(tmp_path, split="tset")


@pytest.mark.parametrize(
    ("table", "options", "expected"),
    [
        ("file_name,label,x0,y0,x1,y1\na.jpg,cat,10,5,30,15\n", {}, [[10, 5, 30, 15]]),
        ("y1;x1;y0;x0;class;path\n15;30;5;10;cat;/data/mine/a.jpg\n", {}, [[10, 5, 30, 15]]),
        ("image\tclass\tx1\ty1\tx2\ty2\na\tcat\t10.5\t5\t30\t15.25\n", {}, [[10.5, 5, 30, 15.25]]),
        ("image;class;xmin;ymin;xmax;ymax\na.jpg;cat;10,5;5;30;15\n", {}, [[10.5, 5, 30, 15]]),
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,20,cat,11,6,30,15\n",
            {"origin": "one"},
            [[10, 5, 30, 15]],
        ),
        ("filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,10,5,29,14\n", {"origin": "zero"}, [[10, 5, 30, 15]]),
        ("file,label,bbox_x,bbox_y,bbox_width,bbox_height\na.jpg,cat,10,5,20,10\n", {}, [[10, 5, 30, 15]]),
        ("file,label,x,y,w,h,width,height\na.jpg,cat,11,6,20,10,40,20\n", {"origin": "one"}, [[10, 5, 30, 15]]),
        ("file,label,x,y,w,h\na.jpg,cat,0.25,0.25,0.5,0.5\n", {}, [[10, 5, 30, 15]]),
        ("file,label,left,top,right,bottom\na.jpg,cat,0,0,1,1\n", {"origin": "edges"}, [[0, 0, 1, 1]]),
        ("file,label,left,top,right,bottom\na.jpg,cat,0.25,0,1.005,1\n", {}, [[10, 0, 40, 20]]),
        (
            "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
            "a,xclick,/m/cat,1,0.25,0.75,0.25,0.75,0,0,0\na,xclick,/m/cat,1,0,1,0,1,0,0,1\n",
            {},
            [[10, 5, 30, 15]],
        ),
        (
            "file,label,x0,y0,x1,y1\na.jpg,cat,10,5,30,15\na.jpg,cat,10,5,30,15\na.jpg,cat,35,15,90,20\n",
            {},
            [[10, 5, 30, 15], [35, 15, 40, 20]],
        ),
    ],
)
def test_boxes_in_any_order_and_counting(put, table, options, expected):
    assert boxes(read(put(table), **options)) == {"a.jpg": expected}


def test_relative_boxes_belong_to_the_displayed_image(put, tmp_path):
    put("file,label,x0,y0,x1,y1\na.jpg,cat,0.25,0,0.5,0.5\ngone/b.v1.jpg,cat,0,0,0.5,0.5\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.v1.jpg").write_bytes(b"broken")
    data = read(tmp_path)
    assert boxes(data) == {"a.jpg": [[5, 0, 10, 20]]}
    assert [(one.width, one.height) for one in data.records] == [(20, 40)]
    (tmp_path / "labels.csv").write_text("file,label,x0,y0,x1,y1\nb.v1.jpg,cat,0,0,0.5,0.5\n")
    data = read(tmp_path)
    assert boxes(data) == {"b.v1.jpg": []} and any("1 images cannot be read" in note for note in data.notes)


def test_pixels_of_a_turned_photograph_are_those_of_the_size_that_is_stated(put, tmp_path):
    put("file,label,width,height,x0,y0,x1,y1\na.jpg,cat,40,20,0,0,10,5\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert boxes(read(tmp_path)) == {"a.jpg": [[15, 0, 20, 10]]}


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("file,labels\na.jpg,dog|cat\nb.v1.jpg,cat\nsub/été 1.jpg,\n", "labels.csv"),
        ('file,labels\na.jpg,"dog, cat"\nb.v1.jpg,cat\nsub/été 1.jpg,\n', "labels.csv"),
        ("file,label\na.jpg,dog\na.jpg,cat\nb.v1.jpg,cat\nsub/été 1.jpg,\n", "labels.csv"),
        ("file,tags\na.jpg,\"['dog', 'cat']\"\nb.v1.jpg,['cat']\nsub/été 1.jpg,[]\n", "labels.csv"),
        ("\ufefffile;tags\r\na;dog|cat\r\nb.v1;cat\r\nsub/été 1;\r\n", "labels.csv"),
        (
            "\n".join(
                json.dumps({"file_name": file, "label": label})
                for file, label in zip(NAMES, (["dog", "cat"], "cat", []), strict=True)
            ),
            "metadata.jsonl",
        ),
    ],
)
def test_several_labels_of_an_image(put, table, name):
    data = read(put(table, name))
    assert shown(data) == {"a.jpg": ["dog", "cat"], "b.v1.jpg": ["cat"], "sub/été 1.jpg": []}
    assert [one.labels for one in data.records] == [(1, 0), (0,), ()]


def test_one_label_may_have_any_mark_in_it(put):
    data = read(put('file,label\na.jpg,"great white shark, man-eater"\nb.v1.jpg,a|b;c\n'))
    assert shown(data) == {"a.jpg": ["great white shark, man-eater"], "b.v1.jpg": ["a|b;c"]}
    assert labels_in("[not a list]", False) == ["[not a list]"]


def test_labels_beside_boxes(put):
    rows = "a.jpg,cat,0,0,4,4\na.jpg,dog,0,0,30,20\na.jpg,owl,,,,\n"
    data = read(put(f"file,label,x0,y0,x1,y1\n{rows}"))
    (one,) = data.records
    assert (one.label, one.labels, one.box_labels.tolist()) == (1, (2,), [0, 1])
    assert any(note.startswith("1 images have boxes of several classes") for note in data.notes)


def test_labels_that_people_found_absent(put):
    data = read(put("ImageID,Source,LabelName,Confidence\na,verification,cat,1\na,verification,dog,0\n"))
    assert shown(data) == {"a.jpg": ["cat"]}
    assert any(note.startswith("1 labels have confidence 0") for note in data.notes)


def test_digits_are_names_unless_they_are_indices(put, tmp_path):
    put("file,label\na.jpg,10\nb.v1.jpg,2\nsub/été 1.jpg,x\n")
    assert [info.name for info in read(tmp_path).classes] == ["10", "2", "x"]
    data = read(tmp_path, labels="index")
    assert [info.name for info in data.classes] == [str(at) for at in range(11)]
    assert [one.label for one in data.records] == [10, 2, -1]
    assert any("1 labels are no numbers of a class: left out, such as: x" in note for note in data.notes)
    (tmp_path / "classes.txt").write_text("owl\ncat\ndog\n")
    data = read(tmp_path, labels="index")
    assert [info.name for info in data.classes] == ["owl", "cat", "dog"]
    assert [one.label for one in data.records] == [-1, 2, -1]


def test_what_is_wrong_is_counted(put):
    rows = ["a.jpg,cat,1,2,3,x", "a.jpg,cat,1,2,nan,4", "a.jpg,cat,9,9,2,2", "a.jpg,cat,50,5,60,9", "a.jpg,,1,2,3,4"]
    rows += ["gone.jpg,cat,1,2,3,4", "b.v1.jpg,cat,1,2,30", "a.jpg,cat,0,0,4,4", "a.jpg,cat,0,0,4,4", '"a.jpg,']
    data = read(put("\n".join(["file,label,x0,y0,x1,y1", *rows])))
    assert boxes(data) == {"a.jpg": [[0, 0, 4, 4]], "b.v1.jpg": []}
    assert [note for note in data.notes if not note.startswith("boxes are read")] == [
        "3 boxes are not four numbers: left out, such as: a.jpg: 1, 2, 3, x",
        "1 rows are repeated: they count once",
        "1 boxes have no label: left out, such as: a.jpg",
        "2 rows of labels.csv name none of these images, or several: left out, such as: gone.jpg",
        "1 images are not in labels.csv, or not in this part of it: left out",
        "1 boxes dropped: empty, inverted or outside their image",
        "1 images have no label",
        "1 boxes dropped: outside their image",
    ]


def test_a_hint_where_pixels_seem_to_be_counted_from_one(put):
    table = "file,label,xmin,ymin,xmax,ymax\na.jpg,cat,1,{},20,20\n"
    for first, hinted in ((3, True), (0, False)):
        notes = read(put(table.format(first))).notes
        assert [("data.origin=one" in note) for note in notes if note.startswith("boxes are read as half-open")] == [
            hinted
        ]


@pytest.mark.parametrize(
    ("tables", "split", "expected"),
    [
        (("train.csv", "val.csv"), "val", "b.v1.jpg"),
        (("train.csv", "val.csv"), "train", "a.jpg"),
        (("annotations/train_labels.csv", "annotations/test_labels.csv"), "val", "b.v1.jpg"),
        (("train/_annotations.csv", "valid/_annotations.csv"), "val", "b.v1.jpg"),
        (("train/_annotations.csv", "valid/_annotations.csv"), "train", "a.jpg"),
    ],
)
def test_a_table_for_each_part(put, tables, split, expected):
    for table, image in zip(tables, NAMES, strict=False):
        root = put(f"file,label\n{image},cat\n", table)
    data = read(root, split=split)
    assert list(shown(data)) == [expected]
    assert any(note.startswith("the table is ") and "data.split" in note for note in data.notes)


def test_the_table_that_names_most_images(put):
    put("file,note\na.jpg,blurred\n", "about.csv")
    data = read(put("file,label\na.jpg,cat\nb.v1.jpg,dog\n", "own.csv"))
    assert shown(data) == {"a.jpg": ["cat"], "b.v1.jpg": ["dog"]}
    assert any(note.startswith("the table is own.csv; data.root takes about.csv") for note in data.notes)


def test_a_table_as_root_beside_or_above_its_images(put, tmp_path):
    put("file,label\na.jpg,cat\n", "lists/own.csv")
    assert shown(read(tmp_path / "lists" / "own.csv")) == {"a.jpg": ["cat"]}


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        ("file,label\ngone.jpg,cat\n", {}, DataError, "no column of labels.csv names an image that is under"),
        ("", {}, DataError, "no column of labels.csv names an image that is under"),
        ("a.jpg,1,2,3,4,cat\n", {}, DataError, "its first line must name the columns, such as file_name,label"),
        ("file,label\na.jpg,cat\n", {"split": "train"}, ConfigurationError, "is not divided into parts; leave this"),
        ("file,label\na.jpg,cat\n", {"origin": "two"}, ConfigurationError, "has no origin 'two'; choose auto or edges"),
    ],
)
def test_refusals_are_one_line(put, table, options, error, message):
    with pytest.raises(error, match=message) as caught:
        read(put(table), **options)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_table(put, tmp_path):
    put("", "notes.txt")
    with pytest.raises(DataError, match=r"has no table \(.csv, .tsv, .jsonl\)"):
        read(tmp_path)
    with pytest.raises(DataError, match="no folder or table"):
        read(tmp_path / "gone")


def test_the_table_of_raccoons_says_what_their_xml_says(layouts):
    root = str(layouts / "voc-raccoon")
    table = {one.file_name: one.boxes for one in read(root, origin="one").records}
    files = {one.file_name: one.boxes for one in fill_sizes(read_dataset("voc", root)).records}
    assert len(table) == 60 and table.keys() == files.keys()
    for name, found in table.items():
        np.testing.assert_array_equal(found[np.lexsort(found.T)], files[name][np.lexsort(files[name].T)])


def test_labels_of_the_four_images(layouts):
    data = read(layouts / "tiny" / "csv")
    assert shown(data) == {
        "sub/été 1.jpg": ["ant"],
        "b.v1.jpg": ["crow's nest"],
        "exif6.jpg": ["bee & wasp"],
        "none.jpg": [],
    }
    assert [(one.width, one.height) for one in data.records] == [(40, 30), (33, 21), (30, 40), (16, 16)]
