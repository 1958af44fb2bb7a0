from __future__ import annotations

from pathlib import Path

import pytest

from stages.classes import ClassInfo
from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.ingest.uris import read_bytes


def test_class_folders(put, tmp_path) -> None:
    for name in ("dog/été.PNG", "dog/deep/er/א.jpeg", "cat/a.jpg", "cat/b.JfIf", "n01440764/x.webp"):
        put(name, name.encode())
    for name in ("cat/.hidden.png", "__MACOSX/cat/._a.jpg", "cat/readme.txt", "dog/LICENSE"):
        put(name)
    data = read_dataset("imagefolder", str(tmp_path))
    assert data.classes == [ClassInfo("cat"), ClassInfo("dog"), ClassInfo("n01440764", "n01440764")]
    assert [(record.image_id, record.file_name, record.label) for record in data.records] == [
        (1, "cat/a.jpg", 0),
        (2, "cat/b.JfIf", 0),
        (3, "dog/deep/er/א.jpeg", 1),
        (4, "dog/été.PNG", 1),
        (5, "n01440764/x.webp", 2),
    ]
    assert [read_bytes(record.uri).decode() for record in data.records] == [r.file_name for r in data.records]
    assert data.records[0].boxes.shape == (0, 4)
    assert data.notes == ["skipped 4 files: .txt 1, hidden 2, no extension 1"]


def test_split_folder_and_relative_root(put, tmp_path, monkeypatch) -> None:
    put("train/cat/a.png")
    put("val/dog/b.png")
    monkeypatch.chdir(tmp_path.parent)
    data = read_dataset("imagefolder", tmp_path.name)
    assert data.classes == [ClassInfo("dog")]
    assert [(record.file_name, record.uri) for record in data.records] == [
        ("val/dog/b.png", str(tmp_path / "val/dog/b.png"))
    ]


def test_flat_folder_has_no_classes(put, tmp_path) -> None:
    put("b.png")
    put("a.png")
    (tmp_path / "empty").mkdir()
    data = read_dataset("imagefolder", str(tmp_path))
    assert data.classes == [] and data.notes == []
    assert [(record.image_id, record.file_name, record.label) for record in data.records] == [
        (1, "a.png", -1),
        (2, "b.png", -1),
    ]


def test_oddities_are_counted(put, tmp_path) -> None:
    for name in ("10/a.png", "9/b.png", "loose.png"):
        put(name)
    (tmp_path / "100").mkdir()
    data = read_dataset("imagefolder", str(tmp_path))
    assert [info.name for info in data.classes] == ["10", "100", "9"]
    assert [record.label for record in data.records] == [0, 2, -1]
    loose, empty, numbers = data.notes
    assert loose == "1 images lie next to the class folders: they have no label"
    assert empty == "1 of 3 class folders have no images: 100"
    assert "10, 100, 9" in numbers


def test_padded_numbers_need_no_note(put, tmp_path) -> None:
    put("09/a.png")
    put("10/a.png")
    assert read_dataset("imagefolder", str(tmp_path)).notes == []


def test_names_that_are_not_utf8_are_counted(put, tmp_path) -> None:
    put("a.png")
    try:
        (tmp_path / "b\udce9.png").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    data = read_dataset("imagefolder", str(tmp_path))
    assert [record.file_name for record in data.records] == ["a.png"]
    assert data.notes == ["skipped 1 files: name not in UTF-8 1"]


@pytest.mark.parametrize("format", ["imagefolder", "imagenet", "coco"])
def test_missing_and_empty_roots(format: str, put, tmp_path) -> None:
    with pytest.raises(DataError, match="absent") as caught:
        read_dataset(format, str(tmp_path / "absent"))
    assert caught.value.exit_code == 3 and caught.value.about == "root"
    with pytest.raises(DataError) as caught:
        read_dataset(format, str(tmp_path))
    assert caught.value.about == "root"
    for name in ("a.txt", "b.txt", "c"):
        put(name)
    if format != "coco":
        with pytest.raises(DataError, match=r"no images under .*skipped 3 files: \.txt 2, no extension 1"):
            read_dataset(format, str(tmp_path))


def test_roots_that_cannot_be_read_are_one_line(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown kind of uri 'nowhere://'"):
        read_dataset("imagefolder", "nowhere://x/y")
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that opens and cannot be read")
    (tmp_path / "annotations.json").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"cannot read .*Input/output error") as caught:
        read_dataset("coco", str(tmp_path))
    assert caught.value.about == "root"
