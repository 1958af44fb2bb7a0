"""Labels of image folders from a table."""

from __future__ import annotations

import json

import pytest

from stages.errors import DataError
from stages.formats import read_dataset
from tests.stages.formats.test_imagefolder_parts import read

TABLES = {
    "labels.csv": "filename,label\na.png,cat\nb.png,dog\n",
    "label.csv": "image,class\nimages/a.png,cat\nimages/b.png,dog\n",
    "Labels.CSV": "id,breed\na,cat\nb,dog\n",
    "labels.tsv": "path\tcategory\n./images/a.png\tcat\nimages\\b.png\tdog\n",
    "train.csv": "\ufeffclass_id;image_id;class_name\n3;a;cat\n5;b;dog\n",
    "own.csv": "a.png,cat\nb.png,dog\n",
    "ids.csv": "a,cat\nb,dog\n",
    "elsewhere.csv": "file,animal\n/home/me/images/a.png,cat\nC:\\data\\images\\b.png,dog\n",
    "types.csv": "file,label\na.jpg,cat\nb.jpeg,dog\n",
    "quoted.csv": ',"file name","label"\r\n0,"a.png","cat"\r\n1,"b.png"," dog "\r\n',
    "captions.csv": "file,text,label\na.png,a cat,cat\nb.png,a dog,dog\n",
    "blanks.csv": 'filename, label\n"a.png", "cat"\nb.png, "dog"\n',
    "excel.csv": "sep=;\r\nname;weight;label\r\na.png;1,5;cat\r\nb.png;2,5;dog\r\n",
    "encoded.csv": "url,label\nhttps://host/images/%61.png,cat\nhttps://host/images/b%2Epng,dog\n",
    "metadata.csv": "file_name,label\nimages/a.png,cat\nimages/b.png,dog\n",
    "metadata.jsonl": '{"file_name": "images/a.png", "label": "cat"}\n\n{"label": "dog", "file_name": "b.png"}\n',
}


@pytest.mark.parametrize(("name", "text"), TABLES.items(), ids=TABLES)
def test_images_and_a_table(name: str, text: str, put, tmp_path) -> None:
    put("images/a.png")
    put("images/b.png")
    put(name, text.encode())
    found, notes = read(tmp_path)
    assert found == {"images/a.png": "cat", "images/b.png": "dog"}
    assert notes[1].startswith(f"the labels are those of {name}, ") and len(notes) == 2


@pytest.mark.parametrize(
    "rows",
    [
        (",filename,label", "0,2.png,1", "1,0.png,2", "2,1.png,0"),
        (",id,label", "1,2,1", "2,0,2", "0,1,0"),
        ("label,image", "1,2", "2,0", "0,1"),
        ("", "2.png,1", "0.png,2", "1.png,0"),
    ],
    ids=lambda rows: rows[0],
)
def test_images_that_are_called_like_rows_and_classes(rows: tuple[str, ...], put, tmp_path) -> None:
    for number in range(3):
        put(f"{number}.png")
    put("labels.csv", "\n".join(rows).encode())
    assert read(tmp_path)[0] == {"0.png": "2", "1.png": "0", "2.png": "1"}


def test_a_few_images_of_a_large_table(put, tmp_path) -> None:
    put("x.png")
    put("labels.csv", "\n".join(["id,label", *(f"a{at},dog" for at in range(2501)), "x,cat"]).encode())
    found, notes = read(tmp_path)
    assert found == {"x.png": "cat"} and notes[2].startswith("2,501 rows of labels.csv name none of these images")


@pytest.mark.parametrize(("encoding", "more"), [("utf-16", 0), ("cp1252", 1)])
def test_tables_as_windows_writes_them(encoding: str, more: int, put, tmp_path) -> None:
    put("a.png")
    put("labels.csv", "file,label\na.png,été\n".encode(encoding))
    found, notes = read(tmp_path)
    assert found == {"a.png": "été"} and len(notes) == 2 + more


def test_what_a_table_lacks_repeats_or_adds_is_counted(put, tmp_path) -> None:
    for name in "abcde":
        put(f"images/{name}.png")
    rows = ("a,cat", "b,dog", "b,dog", "c,cat", "c,dog", "d,", "x,cat", "y,cat", "a,cat,,,")
    put("labels.csv", "\n".join(("image,label", *rows)).encode())
    found, notes = read(tmp_path)
    assert found == dict(zip([f"images/{name}.png" for name in "abcde"], ["cat", "dog", "cat", "", ""], strict=True))
    assert notes[1:] == [
        "the labels are those of labels.csv, column 'label'",
        "2 rows of labels.csv name none of these images, or several, such as: x",
        "2 images are in labels.csv twice: they count once, such as: images/b.png",
        "1 images are in labels.csv with two labels: the first is theirs, such as: images/c.png",
        "2 images have no label in labels.csv",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "file,label\na,cat\na,dog\nb,dog\nc,\na,cat\n"),
        ("labels.csv", "file,tags\na,cat|dog\nb,dog\nc,\n"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "labels": ["cat", "dog"]}\n{"file_name": "b.png", "labels": ["dog"]}\n',
        ),
    ],
)
def test_images_may_have_several_labels(name, content, put, tmp_path) -> None:
    for image in "abc":
        put(f"{image}.png")
    put(name, content.encode())
    data = read_dataset("imagefolder", str(tmp_path))
    assert [one.name for one in data.classes] == ["cat", "dog"]
    assert [(one.label, one.shown) for one in data.records] == [(0, (0, 1)), (1, (1,)), (-1, ())]


def test_numbers_are_classes_in_their_order(put, tmp_path) -> None:
    for number in (10, 9, 2):
        put(f"{number}.png")
    put("labels.csv", b"id,label\n10,10\n9,9\n2,2\n")
    data = read_dataset("imagefolder", str(tmp_path))
    assert [info.name for info in data.classes] == ["2", "9", "10"]
    assert [(record.file_name, record.label) for record in data.records] == [("10.png", 2), ("2.png", 0), ("9.png", 1)]


def test_lines_that_are_not_json(put, tmp_path) -> None:
    put("a.png")
    lines = [json.dumps({"file_name": "a.png", "label": 3, "objects": {"bbox": []}}), "{", "[1]"]
    put("metadata.jsonl", "\n".join(lines).encode())
    found, notes = read(tmp_path)
    assert found == {"a.png": "3"}
    assert notes[2] == "2 lines of metadata.jsonl are not JSON objects: left out, such as: {"


def test_the_table_of_each_part(put, tmp_path) -> None:
    for part in ("train", "test"):
        put(f"{part}/1.png")
        put(f"{part}/2.png")
        put(f"{part}/metadata.csv", f"file_name,label\n1.png,{part}1\n2.png,{part}2\n".encode())
    assert read(tmp_path)[0] == {"test/1.png": "test1", "test/2.png": "test2"}
    assert read(tmp_path, split="train")[0] == {"train/1.png": "train1", "train/2.png": "train2"}


def test_the_part_that_a_table_labels(put, tmp_path) -> None:
    for name in ("train/a.png", "train/b.png", "test/c.png"):
        put(name)
    put("train.csv", b"id,breed\na,cat\nb,dog\n")
    put("sample_submission.csv", b"id,cat,dog\nc,0.5,0.5\n")
    found, notes = read(tmp_path)
    assert found == {"train/a.png": "cat", "train/b.png": "dog"}
    assert notes[0] == "skipped 2 files: .csv 2"
    assert notes[1] == "the images of train/ are taken; data.split takes test"


def test_class_folders_decide_unless_metadata_does(put, tmp_path) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        put(name)
    put("results.csv", b"file,label\na.png,cat\nb.png,cat\n")
    found, notes = read(tmp_path)
    assert found == {"cat/a.png": "cat", "dog/b.png": "dog"}
    differing = f"data.root={tmp_path / 'results.csv'} reads the table"
    assert notes[1:] == [f"1 images have another class in results.csv than their folder, which decides; {differing}"]
    put("metadata.csv", b"file_name,label\ncat/a.png,lynx\ndog/b.png,wolf\n")
    assert read(tmp_path)[0] == {"cat/a.png": "lynx", "dog/b.png": "wolf"}


def test_names_that_several_images_have(put, tmp_path) -> None:
    for name in ("images/1/a.png", "images/2/a.png", "images/2/b.png"):
        put(name)
    put("labels.csv", b"file,label\n1/a.png,cat\na.png,dog\nb,dog\n")
    found, notes = read(tmp_path)
    assert found == {"images/1/a.png": "cat", "images/2/a.png": "", "images/2/b.png": "dog"}
    assert "1 rows of labels.csv name none of these images, or several, such as: a.png" in notes


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("id,score,mean,max\na,1,2,3\n", "x.csv gives no labels: none of its columns (id, score, mean, max) is called"),
        (
            "file,caption\na.png,a cat on a mat\n",
            "x.csv gives no labels: none of its columns (file, caption) is called",
        ),
        ("file,label\nother.png,cat\n", "x.csv names none of the images"),
        ("", "x.csv names none of the images"),
        ('file,label\n"a.png' + "x" * 140_000, "x.csv cannot be read: field larger than field limit"),
    ],
)
def test_tables_without_labels(text: str, note: str, put, tmp_path) -> None:
    put("a.png")
    put("x.csv", text.encode())
    found, notes = read(tmp_path)
    assert found == {"a.png": ""} and any(line.startswith(note) for line in notes)


def test_tables_that_cannot_be_read_cost_no_image(put, tmp_path) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        put(name)
    (tmp_path / "labels.csv").symlink_to(tmp_path / "gone")
    (tmp_path / "folder.csv").mkdir()
    put("deep.jsonl", b"[" * 200_000)
    found, notes = read(tmp_path)
    assert found == {"cat/a.png": "cat", "dog/b.png": "dog"}
    assert any(
        line.startswith("1 files that may list labels cannot be read: they are left out, such as: cannot read ")
        and "labels.csv" in line
        for line in notes
    )


def test_a_table_as_root_names_the_images(put, tmp_path) -> None:
    for name in ("images/a.png", "images/b.png", "images/c.png", "2020/d.png"):
        put(name)
    table = put("own.csv", b"file,label\nc.png,cat\nimages/a.png,dog\n2020/d.png,\ngone.png,dog\n")
    found, notes = read(table)
    assert list(found.items()) == [("images/c.png", "cat"), ("images/a.png", "dog"), ("2020/d.png", "")]
    assert notes == [
        "1 rows of own.csv name none of these images, or several, such as: gone.png",
        "1 images have no label in own.csv",
    ]
    put("own.csv", b"file,label\n")
    with pytest.raises(DataError, match=r"own.csv names no image that is there \(it is empty\)"):
        read(table)
