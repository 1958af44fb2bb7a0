from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import pytest

from stages.formats import read_dataset
from stages.formats.folder import find_images
from stages.formats.system_files import system_kind

SYSTEM = (
    *("@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg", "@EADIR/a.jpg", "#recycle/a.jpg", "#snapshot/a.jpg", "@tmp/a.jpg"),
    *("$RECYCLE.BIN/S-1-5-21/$RAB12.jpg", "$Recycle.Bin/a.jpg", "RECYCLER/a.jpg", "FOUND.000/a.jpg", "found.017/a.jpg"),
    *("$WINDOWS.~BT/a.jpg", "$SysReset/a.jpg", "TheFindByContentFolder/a.jpg"),
    *("System Volume Information/a.jpg", "lost+found/a.jpg", "__MACOSX/a.jpg", "__pycache__/a.jpg"),
    *("@Recycle/a.jpg", "@__thumb/a.jpg", "@Recently-Snapshot/a.jpg", "~snapshot/a.jpg", "Network Trash Folder/a.jpg"),
)
HIDDEN = (
    *(".Trashes/a.jpg", ".Spotlight-V100/a.jpg", ".ipynb_checkpoints/a.jpg", ".@__thumb/a.jpg", ".AppleDouble/a.jpg"),
    *(".DS_Store", "._a.jpg", ".Trash-1000/files/a.jpg", ".thumbnails/a.jpg"),
)
CLASSES = ("#1", "$100", "@home", "@tmp2", "FOUND.0001", "eaDir", "lost", "recycled", "recycler", "tmp")


@pytest.mark.parametrize("name", SYSTEM)
def test_system_folders(name: str) -> None:
    for where in ("", "cat/", "cat/deep/"):
        assert system_kind(where + name) == "system folders"


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_names(name: str) -> None:
    for where in ("", "cat/"):
        assert system_kind(where + name) == "hidden"


def test_they_become_neither_classes_nor_images(put, tmp_path) -> None:
    for name in (*SYSTEM, *HIDDEN, "Thumbs.db", "cat/@eaDir/x.jpg", "cat/SYNOPHOTO_THUMB_XL.jpg", "cat/x.jpg"):
        put(name)
    (tmp_path / ".fseventsd").mkdir()
    for name in CLASSES:
        put(f"{name}/b.jpg")
    data = read_dataset("imagefolder", str(tmp_path))
    assert [info.name for info in data.classes] == sorted((*CLASSES, "cat"))
    names = sorted([*(f"{name}/b.jpg" for name in CLASSES), "cat/x.jpg"])
    assert [record.file_name for record in data.records] == names
    assert [record.label for record in data.records] == list(range(11))
    total = len(SYSTEM) + len(HIDDEN) + 3
    kinds = f".db 1, hidden {len(HIDDEN)}, system files 1, system folders {len(SYSTEM) + 1}"
    assert data.notes == [f"skipped {total} files: {kinds}"]


def test_one_without_images_is_no_class(put, tmp_path) -> None:
    for name in ("lost+found", "$RECYCLE.BIN", "@eaDir", "System Volume Information", "__pycache__"):
        (tmp_path / name).mkdir()
    put("cat/a.jpg")
    data = read_dataset("imagefolder", str(tmp_path))
    assert [info.name for info in data.classes] == ["cat"] and data.notes == []


def test_a_root_inside_one_is_read(put, tmp_path) -> None:
    put("#recycle/cat/a.jpg")
    assert len(read_dataset("imagefolder", str(tmp_path / "#recycle")).records) == 1


def test_nothing_else_is_there(put, tmp_path) -> None:
    put("@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg")
    with pytest.raises(Exception, match=r"no images under .* \(skipped 1 files: system folders 1\)"):
        read_dataset("imagefolder", str(tmp_path))


def test_in_a_tar(put, tmp_path) -> None:
    image = put("a.jpg")
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for name in ("ILSVRC2012_val_00000001.JPEG", "@eaDir/ILSVRC2012_val_00000001.JPEG", "._x.JPEG"):
            tar.add(image, name)
    names = read_dataset("imagenet", str(tmp_path / "val.tar")).records
    assert [record.file_name for record in names] == ["ILSVRC2012_val_00000001.JPEG"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root alone can become somebody else")
def test_folders_that_cannot_be_read(encode) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name, mode in (("cat", 0o755), ("dog", 0o700), ("lost+found", 0o700)):
            place = Path(folder, name)
            place.mkdir()
            (place / "a.png").write_bytes(encode())
            place.chmod(mode)
        os.seteuid(65534)
        try:
            data = read_dataset("imagefolder", folder)
        finally:
            os.seteuid(0)
    assert [(record.file_name, record.label) for record in data.records] == [("cat/a.png", 0)]
    assert data.notes == [
        "skipped 1 files: folders that cannot be read 1",
        "1 of 2 class folders have no images: dog",
    ]


def test_what_is_skipped_is_counted_once() -> None:
    found = find_images(["a.jpg", "b.txt", "@eaDir/b.txt", ".x/@eaDir/c.jpg", "lost+found/", "cat/"])
    assert found.names == ["a.jpg"]
    assert found.skipped_line() == (
        "skipped 4 files: .txt 1, folders that cannot be read 1, hidden 1, system folders 1"
    )
