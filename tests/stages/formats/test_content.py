"""Annotations that unpack to gigabytes, or have them: one line, a way out, and no memory."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from pathlib import Path

import pytest

from pipeline.config.history import config_hash
from pipeline.config.keys import key_of
from stages.errors import DataError
from stages.formats import content, read_dataset
from stages.formats.content import annotations_within, content_of
from stages.ingest import unzipped
from stages.ingest.tar import tar_members
from tests.runs import wsl_here
from tests.stages.formats.ilsvrc import TENCH, stem, write_tar, xml

COCO = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "a"}], "annotations": []}
MIB = 1 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs of a megabyte, which is quick."""
    monkeypatch.setattr(unzipped, "FREE", MIB // 2)


def long_coco(length: int) -> bytes:
    return json.dumps(COCO).encode().ljust(length)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_is_packed_is_unpacked_unless_it_is_a_bomb(put, pack) -> None:
    text = os.urandom(100_000)
    assert content_of(str(put("a.json.gz", pack(text)))) == text
    assert content_of(str(put("b.json.gz", pack(bytes(MIB // 4))))) == bytes(MIB // 4)
    with pytest.raises(DataError, match=r"c\.json\.gz: it unpacks to more than 100 times its size; unpack it yourself"):
        content_of(str(put("c.json.gz", pack(bytes(MIB)))))
    long = gzip.compress(os.urandom(MIB + 1), 1)
    with annotations_within(1), pytest.raises(DataError, match=r"a\.json\.gz has more than 1 MiB; set more"):
        content_of(str(put("a.json.gz", long)))
    with pytest.raises(DataError, match=r"cannot read .*d\.json\.gz: "):
        content_of(str(put("d.json.gz", pack(text)[:-1000])))


def test_a_file_that_is_too_large_is_not_read_and_the_key_is_named(put) -> None:
    path = put("annotations.json", long_coco(2 * MIB))
    put("a.png")
    with pytest.raises(DataError, match=r"annotations\.json has more than 1 MiB; set more if it is right") as caught:
        read_dataset("coco", str(path.parent), annotation_limit=1)
    assert key_of(str(caught.value.about)) == "data.annotation_limit"
    assert len(read_dataset("coco", str(path.parent), annotation_limit=2).records) == 1
    os.truncate(path, 2 * 10**9)
    with pytest.raises(DataError, match=r"annotations\.json has more than 512 MiB"):
        read_dataset("coco", str(path.parent))


def test_the_key_changes_no_other_configuration(tiny) -> None:
    assert config_hash(tiny()) == config_hash(tiny("data.annotation_limit=512"))
    for given in ("0", "-1", "none", "null"):
        done = wsl_here("show", "coco", "data.root=/x", f"data.annotation_limit={given}")
        assert done.returncode == 2 and "data.annotation_limit" in done.stderr


def test_evaluate_has_the_limit_too(put) -> None:
    path = put("truth.json", long_coco(2 * MIB))
    given = ("evaluate", "--ground-truth", path, "--predictions", path)
    done = wsl_here(*given, "data.annotation_limit=1")
    assert done.returncode == 3 and "data.annotation_limit: truth.json has more than 1 MiB" in done.stderr
    assert "annotation_limit" not in wsl_here(*given).stderr


def test_a_bomb_beside_the_annotations_costs_nothing(put) -> None:
    put("a.png")
    put("mine.json", json.dumps(COCO).encode())
    root = put("other.json.gz", gzip.compress(bytes(MIB))).parent
    assert len(read_dataset("coco", str(root)).records) == 1


def test_xml_of_gigabytes_is_left_out(put, monkeypatch) -> None:
    from stages.formats import xml_files as module

    monkeypatch.setattr(module, "MOST", 10_000)
    long = xml(1, TENCH, (2, 3, 9, 10)).ljust(20_000)
    for number in (1, 2):
        put(f"{stem(number)}.JPEG")
    put(f"Annotations/{stem(1)}.xml", long)
    root = put(f"Annotations/{stem(2)}.xml", xml(2, TENCH, (2, 3, 9, 10))).parents[1]
    inside = {f"val/{stem(1)}.xml": long, f"val/{stem(2)}.xml": xml(2, TENCH, (2, 3, 9, 10))}
    for place in ("folder", "tar"):
        data = read_dataset("imagenet", str(root))
        assert [len(record.boxes) for record in data.records] == [0, 1], place
        assert any(note.startswith("1 XML files cannot be read") for note in data.notes)
        for path in (root / "Annotations").glob("*.xml"):
            path.unlink()
        write_tar(root / "ILSVRC2012_bbox_val_v3.tgz", inside, "w:gz")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_archives_that_are_bombs(put, mode: str) -> None:
    root = put(f"{stem(1)}.JPEG").parent
    ground_truth = {"data/ILSVRC2012_validation_ground_truth.txt": b"1\n".ljust(MIB)}
    write_tar(root / "ILSVRC2012_devkit_t12.tar.gz", ground_truth, mode)
    (note,) = [one for one in read_dataset("imagenet", str(root)).notes if "may list labels" in one]
    assert note.startswith("1 files") and "unpacks to more than 100 times its size" in note
    write_tar(root / "ILSVRC2012_bbox_val_v3.tgz", {f"{stem(1)}.xml": bytes(MIB)}, mode)
    with pytest.raises(DataError, match=r"bbox_val_v3\.tgz: it unpacks to more than 100 times its size"):
        read_dataset("imagenet", str(root))


def test_a_tar_of_images_that_is_a_bomb(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(unzipped, "BLOCK", MIB // 8)
    unzipped._blocks.cache_clear()
    write_tar(tmp_path / "a.tgz", {"a.png": os.urandom(2 * MIB), "b.png": bytes(MIB // 4)}, "w:gz")
    assert tar_members(str(tmp_path / "a.tgz"))[0].keys() == {"a.png", "b.png"}
    write_tar(tmp_path / "b.tgz", {"a.png": bytes(2 * MIB), "b.png": b"b"}, "w:gz")
    with pytest.raises(DataError, match=r"b\.tgz: it unpacks to more than 100 times its size"):
        tar_members(str(tmp_path / "b.tgz"))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_header_of_gigabytes(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, 2 * 10**9
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 3 * 10**9)
    with pytest.raises(DataError, match="it has a name or header of 2,000,000,"):
        tar_members(str(path))


def test_the_piece_that_is_read_does_not_matter(put, monkeypatch) -> None:
    text = os.urandom(100_000)
    path = str(put("a.txt.gz", gzip.compress(text)))
    monkeypatch.setattr(content, "_PIECE", 999)
    assert content_of(path) == text
    with content.opened(path) as file:
        assert io.BytesIO(text).read(7) == file.read(7)
