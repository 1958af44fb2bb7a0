from __future__ import annotations

import gzip
import tarfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.errors import DataError
from stages.ingest import unzipped
from stages.ingest.tar import tar_members
from stages.ingest.unzipped import open_unzipped
from stages.ingest.uris import read_bytes
from tests.stages.formats.ilsvrc import write_tar


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that every image lies in several, and most are forgotten again."""
    monkeypatch.setattr(unzipped, "BLOCK", 1000)
    monkeypatch.setattr(unzipped, "_READ", 300)
    unzipped._blocks.cache_clear()


def noise(seed: int, count: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 99, count, dtype=np.uint8).tobytes()


@pytest.mark.parametrize("members", [1, 3])
def test_any_part_of_the_content_in_any_order(tmp_path: Path, members: int) -> None:
    """Files that were appended to each other, as parallel gzip writes them, are one; so is padding at the end."""
    content = noise(1, 20_000)
    cuts = np.linspace(0, len(content), members + 1).astype(int)
    path = tmp_path / "a.gz"
    path.write_bytes(b"".join(gzip.compress(content[a:b]) for a, b in pairwise(cuts)) + bytes(700))
    with open_unzipped(str(path)) as file:
        assert file.read() == content
        for start, length in [(19_500, 900), (0, 10), (7_300, 3_000), (999, 2), (5, 1), (20_000, 5), (30_000, 5)]:
            assert file.seek(start) == start
            assert file.read(length) == content[start : start + length]
        assert file.seek(0, 2) == len(content)


def test_members_of_a_gzipped_tar(tmp_path: Path) -> None:
    path = tmp_path / "images #1.tar"  # The content says that it is gzipped, not the name.
    images = {f"val/{number}.png": noise(number, 1500 + number) for number in range(30)}
    write_tar(path, images, "w:gz")
    found, left_out = tar_members(str(path))
    assert found.keys() == images.keys() and left_out == 0
    unzipped._blocks.cache_clear()  # Another process reads them, by several threads in no order.
    with ThreadPoolExecutor(8) as pool:
        order = list(reversed(found))
        assert dict(zip(order, pool.map(read_bytes, map(found.get, order)), strict=True)) == images
    assert read_bytes(found["val/7.png"], 10) == images["val/7.png"][:10]


def test_a_damaged_file_is_found_before_any_image_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    write_tar(path, {"a.png": noise(1, 5000), "b.png": noise(2, 5000)}, "w:gz")
    data = bytearray(path.read_bytes())
    data[5000:5040] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot read the tar file .*a\.tar\.gz.* is damaged"):
        tar_members(str(path))


@pytest.mark.parametrize(("mode", "name"), [("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_other_compressions_are_named(tmp_path: Path, mode: str, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", mode):
        pass
    with pytest.raises(DataError, match=rf"a\.tar is compressed by {name}, .*; unpack it"):
        tar_members(str(tmp_path / "a.tar"))
