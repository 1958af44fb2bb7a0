"""Images that data.root names one by one."""

from __future__ import annotations

import pytest

from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.ingest.uris import read_bytes
from tests.stages.formats.test_imagefolder_parts import read


@pytest.mark.parametrize("name", ["a.png", "A b.JPG", "été.é.webp", "no extension", "wrong.ending"])
def test_a_single_image(name: str, put, tmp_path) -> None:
    path = put(f"cat/{name}")
    put("cat/other.png")
    data = read_dataset("imagefolder", str(path))
    assert [(one.image_id, one.uri, one.file_name, one.label) for one in data.records] == [(1, str(path), name, -1)]
    assert data.classes == [] and data.notes == []


PATTERNS = {
    "*.jpg": ["a.jpg"],
    "*.JP*": ["B.JPG"],
    "*": ["B.JPG", "a.jpg", "cat/c.jpg", "cat/d.png", "dog/deep/e.jpg", "dog/f.jpg"],
    "?.jpg": ["a.jpg"],
    "[ab].jpg": ["a.jpg"],
    "*/*.jpg": ["cat/c.jpg", "dog/f.jpg"],
    "**/*.jpg": ["a.jpg", "cat/c.jpg", "dog/deep/e.jpg", "dog/f.jpg"],
    "**/deep/*.jpg": ["dog/deep/e.jpg"],
    "d*/**": ["dog/deep/e.jpg", "dog/f.jpg"],
    "dog": ["dog/deep/e.jpg", "dog/f.jpg"],
}


@pytest.mark.parametrize(("pattern", "names"), PATTERNS.items(), ids=PATTERNS)
def test_a_pattern(pattern: str, names: list[str], put, tmp_path) -> None:
    for name in ("a.jpg", "B.JPG", "cat/c.jpg", "cat/d.png", "dog/deep/e.jpg", "dog/f.jpg", "t.txt", ".h/x.jpg"):
        put(f"set [1]/{name}")
    put("set 1/z.jpg")
    data = read_dataset("imagefolder", str(tmp_path / "set ?1?" / pattern))
    assert [record.file_name for record in data.records] == [f"set [1]/{name}" for name in names]
    assert [read_bytes(record.uri) for record in data.records] == [put("x").read_bytes()] * len(names)


def test_the_folders_behind_a_pattern_are_classes(put, tmp_path) -> None:
    for name in ("cat/a.jpg", "cat/b.png", "dog/c.jpg", "emu/d.png"):
        put(name)
    assert read(tmp_path / "**" / "*.jpg")[0] == {"cat/a.jpg": "cat", "dog/c.jpg": "dog"}


def test_a_pattern_takes_all_parts_and_none_is_a_class(put, tmp_path) -> None:
    for name in ("train/cat/a.jpg", "val/dog/b.jpg", "val/cat/c.png", "d.jpg"):
        put(name)
    assert read(tmp_path / "**" / "*.jpg") == ({"d.jpg": "", "train/cat/a.jpg": "cat", "val/dog/b.jpg": "dog"}, [])
    put("labels.csv", b"file,label\na.jpg,lynx\nb.jpg,wolf\nc.png,lynx\n")
    put("train/e.jpg")
    put("val/f.jpg")
    assert read(tmp_path / "*" / "*.jpg")[0] == {"train/e.jpg": "", "val/f.jpg": ""}
    put("labels.csv", b"file,label\ne.jpg,lynx\nf.jpg,wolf\n")
    assert read(tmp_path / "*" / "*.jpg")[0] == {"train/e.jpg": "lynx", "val/f.jpg": "wolf"}


@pytest.mark.parametrize("root", ["*.png", "a.png", "list.txt"])
def test_only_folders_have_parts(root: str, put, tmp_path) -> None:
    put("a.png")
    put("list.txt", b"a.png")
    with pytest.raises(ConfigurationError, match="names its images itself; leave this key out") as caught:
        read(tmp_path / root, split="train")
    assert caught.value.about == "split"


def test_a_folder_that_is_called_like_a_pattern(put, tmp_path) -> None:
    put("[old] set*/a.png")
    assert list(read(tmp_path / "[old] set*")[0]) == ["a.png"]
    assert list(read(tmp_path / "[old] set*" / "?.png")[0]) == ["a.png"]


LISTS = {
    "list.txt": ("pics/a.png\npics/b c.png\n", ["", ""]),
    "labels.txt": ("pics/a.png cat\npics/b c.png  great white shark\n", ["cat", "great white shark"]),
    "tabs.lst": ("pics/a.png\tcat\r\n\r\npics/b c.png\tdog\r\n", ["cat", "dog"]),
    "commas.txt": ('"pics/a.png",cat\n"pics/b c.png", "dog"\n', ["cat", "dog"]),
    "numbers.txt": ("./pics/a.png 10\npics\\b c.png 9\n", ["10", "9"]),
    "boxes.txt": ("pics/a.png\tcat\t0\t32\t44\t62\npics/b c.png big dog 1.5 2 3 4\n", ["cat", "big dog"]),
    "bom.list": ("\ufeffpics/a.png\npics/b c.png", ["", ""]),
}


@pytest.mark.parametrize(("name", "case"), LISTS.items(), ids=LISTS)
def test_a_list_file(name: str, case: tuple[str, list[str]], put, tmp_path, monkeypatch) -> None:
    text, labels = case
    for image in ("pics/a.png", "pics/b c.png", "pics/more.png"):
        put(image)
    path = put(name, text.encode())
    monkeypatch.chdir("/")
    found, notes = read(path)
    assert list(found.items()) == list(zip(["pics/a.png", "pics/b c.png"], labels, strict=True)) and notes == []


def test_numbers_of_a_list_are_in_their_order(put, tmp_path) -> None:
    put("a.png")
    put("b.png")
    data = read_dataset("imagefolder", str(put("list.txt", b"a.png 10\nb.png 9\n")))
    assert [info.name for info in data.classes] == ["9", "10"] and [one.label for one in data.records] == [1, 0]


def test_images_of_a_list_may_be_anywhere(put, tmp_path) -> None:
    one, other = put("pics/a.png"), put("more/b.png")
    data = read_dataset("imagefolder", str(put("lists/list.txt", f"{one}\n../more/b.png\n{other.as_uri()}\n".encode())))
    assert [record.uri for record in data.records] == [str(one), str(other)]
    assert [record.file_name for record in data.records] == [str(one)[1:], str(other)[1:]]
    assert data.notes == [f"1 images are in list.txt twice: they count once, such as: {other}"]


def test_images_of_a_list_may_be_below_it(put, tmp_path) -> None:
    for image in ("images/a.png", "images/b.png", "old/b.png"):
        put(image)
    found, notes = read(put("val_annotations.txt", b"a.png\tcat\t0\t1\t2\t3\nb.png\tdog\t0\t1\t2\t3\n"))
    assert found == {"images/a.png": "cat"}
    assert notes == [
        "1 images of val_annotations.txt are in folders below it, such as: images/a.png",
        "1 images of val_annotations.txt are not there: left out, such as: b.png",
    ]


def test_what_a_list_has_wrong_is_counted(put, tmp_path) -> None:
    put("a.png")
    put("b.png")
    lines = ("path label", "a.png cat", "gone.png cat", "b.png", "a.png cat", "a.png dog", "readme.md")
    path = put("list.txt", "\n".join(lines).encode())
    found, notes = read(path)
    assert found == {"a.png": "cat", "b.png": ""}
    assert notes == [
        "2 lines of list.txt name no image: left out, such as: path label",
        "1 images of list.txt are not there: left out, such as: gone.png",
        f"1 images are in list.txt twice: they count once, such as: {tmp_path / 'a.png'}",
        f"1 images are in list.txt with two labels: the first is theirs, such as: {tmp_path / 'a.png'}",
        "1 images have no label in list.txt",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.zip", b"PK\3\4", "is neither an image nor a list of images"),
        ("nothing", b"", "is neither an image nor a list of images"),
        ("notes.md", b"hello", "is neither an image nor a list of images"),
        ("list.txt", b"gone.png\n", r"names no image that is there \(1 images of list.txt are not there"),
        ("empty.txt", b"", r"names no image that is there \(it is empty\)"),
    ],
)
def test_files_that_name_no_image(name: str, content: bytes, message: str, put) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(put(name, content))
    assert caught.value.about == "root"


def test_patterns_that_match_nothing(put, tmp_path) -> None:
    put("a.png")
    with pytest.raises(DataError, match=r"no file matches .*\*\.jpg"):
        read(tmp_path / "*.jpg")
    with pytest.raises(DataError, match=r"no folder .*absent; "):
        read(tmp_path / "absent" / "*.jpg")
