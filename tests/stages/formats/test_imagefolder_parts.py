"""Image folders that are divided into parts, or wrapped."""

from __future__ import annotations

import pytest

from stages.errors import ConfigurationError
from stages.formats import read_dataset


def read(root, **options):
    """File names with their classes, and the notes."""
    data = read_dataset("imagefolder", str(root), **options)
    names = [info.name for info in data.classes]
    return {record.file_name: names[record.label] if record.label >= 0 else "" for record in data.records}, data.notes


LAYOUTS = {
    "train test": ("train test", "test", "train"),
    "train val": ("train val", "val", "train"),
    "train valid": ("train valid", "valid", "train"),
    "train validation test": ("train validation test", "validation", "test or train"),
    "Training Testing": ("Training Testing", "Testing", "Training"),
    "train2017 val2017": ("train2017 val2017", "val2017", "train2017"),
    "seg_train seg_test": ("seg_train seg_test", "seg_test", "seg_train"),
    "train.X1 train.X2 val.X": ("train.X1 train.X2 val.X", "val.X", "train.X1 or train.X2"),
    "train dev": ("train dev", "dev", "train"),
}


@pytest.mark.parametrize(("folders", "taken", "others"), LAYOUTS.values(), ids=LAYOUTS)
def test_which_part_is_taken(folders: str, taken: str, others: str, put, tmp_path) -> None:
    for folder in folders.split():
        put(f"{folder}/cat/{folder}.png")
        put(f"{folder}/dog/deep/{folder}.png")
    found, notes = read(tmp_path)
    assert found == {f"{taken}/cat/{taken}.png": "cat", f"{taken}/dog/deep/{taken}.png": "dog"}
    assert notes == [f"the images of {taken}/ are taken; data.split takes {others}"]


@pytest.mark.parametrize(("split", "taken"), [("train", "train"), ("test", "test1"), ("test1", "test1")])
def test_a_part_is_chosen_by_its_name_or_kind(split: str, taken: str, put, tmp_path) -> None:
    for name in ("train/cat/a.png", "test1/cat/b.png"):
        put(name)
    found, notes = read(tmp_path, split=split)
    assert list(found) == [name for name in ("test1/cat/b.png", "train/cat/a.png") if name.startswith(taken)]
    assert notes[0].startswith(f"the images of {taken}/ are taken; data.split takes ")


def test_a_part_that_is_not_there_names_the_choices(put, tmp_path) -> None:
    put("train/cat/a.png")
    put("test/cat/b.png")
    with pytest.raises(ConfigurationError, match=r"has no part 'tset'; it has test, train$") as caught:
        read(tmp_path, split="tset")
    assert caught.value.about == "split"
    with pytest.raises(
        ConfigurationError, match=r"has no part 'test'; it is not divided into parts, so leave this key out"
    ):
        read(tmp_path / "train", split="test")


def test_the_only_part(put, tmp_path) -> None:
    put("train/cat/a.png")
    put("train/dog/b.png")
    assert read(tmp_path) == (
        {"train/cat/a.png": "cat", "train/dog/b.png": "dog"},
        ["the images of train/ are taken"],
    )


def test_a_class_called_train_among_others(put, tmp_path) -> None:
    put("bus/a.png")
    put("train/b.png")
    assert read(tmp_path) == ({"bus/a.png": "bus", "train/b.png": "train"}, [])


def test_parts_without_classes(put, tmp_path) -> None:
    put("train/a.png")
    put("test/b.png")
    assert read(tmp_path)[0] == {"test/b.png": ""}


def test_of_several_parts_one_with_labels_is_taken(put, tmp_path) -> None:
    put("train/cat/a.png")
    put("test/b.png")
    found, notes = read(tmp_path)
    assert found == {"train/cat/a.png": "cat"}
    assert notes == ["the images of train/ are taken; data.split takes test"]


def test_what_lies_beside_the_parts_is_counted(put, tmp_path) -> None:
    for name in ("train/cat/a.png", "test/cat/b.png", "extra/c.png", "d.png"):
        put(name)
    found, notes = read(tmp_path)
    assert list(found) == ["test/cat/b.png"]
    assert notes[1:] == ["2 images lie beside the parts: left out"]


WRAPPED = {
    "images/cat/a.png": "cat",
    "images/a.png": "",
    "archive/train/cat/a.png": "cat",
    "images/val/cat/a.png": "cat",
    "data/train/cat/a.png": "cat",
    "train/images/cat/a.png": "cat",
    "train/images/a.png": "",
    "cat/a.png": "cat",
    "cat/deep/er/a.png": "cat",
}


@pytest.mark.parametrize(("name", "label"), WRAPPED.items(), ids=WRAPPED)
def test_folders_that_are_no_classes(name: str, label: str, put, tmp_path) -> None:
    put(name)
    assert read(tmp_path)[0] == {name: label}


def test_a_part_in_a_folder_of_its_name(put, tmp_path) -> None:
    for part in ("seg_train", "seg_test"):
        put(f"{part}/{part}/cat/a.png")
    put("seg_pred/seg_pred/b.png")
    found, notes = read(tmp_path)
    assert found == {"seg_test/seg_test/cat/a.png": "cat"}
    assert notes[1] == "1 images lie beside the parts: left out"


def test_a_part_without_images_is_not_taken(put, tmp_path) -> None:
    put("train/cat/a.png")
    put("val/cat/readme.txt")
    found, notes = read(tmp_path)
    assert found == {"train/cat/a.png": "cat"}
    assert notes == ["skipped 1 files: .txt 1", "the images of train/ are taken; data.split takes val"]


def test_what_lies_beside_images_is_counted(put, tmp_path) -> None:
    put("images/cat/a.png")
    put("cover.png")
    assert read(tmp_path) == ({"images/cat/a.png": "cat"}, ["1 images lie beside images/: left out"])


def test_an_empty_class_of_a_part_is_a_class(put, tmp_path) -> None:
    put("train/cat/a.png")
    put("test/dog/b.png")
    (tmp_path / "test/bird").mkdir()
    data = read_dataset("imagefolder", str(tmp_path))
    assert [info.name for info in data.classes] == ["bird", "dog"] and data.records[0].label == 1
    assert data.notes[1:] == ["1 of 2 class folders have no images: bird"]


def test_dots_and_blanks_and_letters_in_names(put, tmp_path) -> None:
    names = ("a.b c/x.y.png", "été/ü.png", "猫/1.2.jpg")
    for name in names:
        put(name)
    assert read(tmp_path) == ({name: name.partition("/")[0] for name in sorted(names)}, [])


def test_links_that_form_a_circle(put, tmp_path) -> None:
    put("cat/a.png")
    (tmp_path / "cat/again").symlink_to(tmp_path)
    (tmp_path / "cat/loop.png").symlink_to("loop.png")
    assert list(read(tmp_path)[0]) == ["cat/a.png", "cat/loop.png"]
