"""Image folders in a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stages.formats import read_dataset
from stages.ingest import remote, uris
from stages.ingest.uris import read_bytes
from tests.stages.formats.test_imagefolder_parts import read

STORE = "mock:///store"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, encode) -> Callable[..., None]:
    """Files in pyarrow's in-memory file system, images unless other bytes are given."""
    monkeypatch.setitem(uris.SCHEMES, "mock://", "remote")
    remote.filesystem_of.cache_clear()
    filesystem, _ = remote.filesystem_of("mock:///")

    def write(*names: str, content: bytes | None = None) -> None:
        for name in names:
            filesystem.create_dir(f"store/{name}".rpartition("/")[0])
            with filesystem.open_output_stream(f"store/{name}") as file:
                file.write(encode() if content is None else content)

    return write


def test_parts_classes_and_system_folders(store) -> None:
    store("train/cat/a.png", "test/dög 1/b#1.avif", "test/@eaDir/b/SYNOFILE_THUMB_M.jpg", "test/lost+found/c.png")
    data = read_dataset("imagefolder", STORE)
    assert [info.name for info in data.classes] == ["dög 1"]
    assert [record.file_name for record in data.records] == ["test/dög 1/b#1.avif"]
    assert read_bytes(data.records[0].uri)
    assert data.notes == [
        "skipped 2 files: system folders 2",
        "the images of test/ are taken; data.split takes train",
    ]


def test_a_table(store) -> None:
    store("images/a.png", "images/b.png")
    store("labels.csv", content=b"id,label\na,cat\nb,dog\n")
    assert read(STORE)[0] == {"images/a.png": "cat", "images/b.png": "dog"}
    assert read(f"{STORE}/labels.csv")[0] == {"images/a.png": "cat", "images/b.png": "dog"}


def test_one_image_a_pattern_and_a_list(store) -> None:
    store("cat/a b.png", "cat/c.png", "d.png")
    store("list.txt", content=b"cat/a b.png 1\n./d.png 0\n")
    (record,) = read_dataset("imagefolder", f"{STORE}/cat/a%20b.png").records
    assert record.file_name == "a b.png" and read_bytes(record.uri)
    assert list(read(f"{STORE}/**/*.png")[0].values()) == ["cat", "cat", ""]
    assert list(read(f"{STORE}/cat/c*")[0]) == ["c.png"]
    assert read(f"{STORE}/list.txt") == ({"cat/a b.png": "1", "d.png": "0"}, [])
