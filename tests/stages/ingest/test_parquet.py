"""Images in the rows of Parquet files."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import StorageError
from stages.ingest import parquet
from stages.ingest.children import _batches
from stages.ingest.header import header_at
from stages.ingest.parquet import cell_uri
from stages.ingest.uris import open_file, read_bytes, read_file

PAGES = {"data_page_size": 1 << 20, "write_batch_size": 1, "use_dictionary": False}
"""Pages of a few cells; otherwise they have 1,024 of them, however large."""


def noise(row: int, count: int = 3000) -> bytes:
    return np.random.default_rng(row).integers(0, 256, count, dtype=np.uint8).tobytes()


def write(path: Path, cells: list[bytes | None], rows: int = 100, **options: object) -> str:
    """A column of structs as Hugging Face writes images, and one of bytes alone; ``rows`` a group."""
    image = pa.array([None if cell is None else {"bytes": cell, "path": "a.png"} for cell in cells])
    table = pa.table({"label": pa.array(range(len(cells))), "image": image, "plain": pa.array(cells, pa.binary())})
    pq.write_table(table, path, row_group_size=rows, **options)
    return str(path)


def uris(path: str, rows: range, column: str = "image.bytes", per_group: int = 100) -> list[str]:
    return [cell_uri(path, column, *divmod(row, per_group)) for row in rows]


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """How often a column of a group is decoded from its beginning, and how many cells of it are."""
    parquet._group.cache_clear()
    counts: Counter[str] = Counter()
    cells = parquet._cells

    def counted(*where):
        counts["starts"] += 1
        for cell in cells(*where):
            counts["cells"] += 1
            yield cell

    monkeypatch.setattr(parquet, "_cells", counted)
    return counts


@pytest.mark.parametrize("column", ["image.bytes", "plain"])
def test_a_row_is_the_bytes_that_were_written(tmp_path, column):
    path = write(tmp_path / "été & #1?.parquet", [noise(row) for row in range(250)])
    for row, uri in enumerate(uris(path, range(250), column)):
        assert read_bytes(uri) == noise(row)
    assert read_bytes(uris(path, range(250), column)[120], 5) == noise(120)[:5]
    with open_file(uris(path, range(250), column)[7]) as file:
        file.seek(10)
        assert file.read() == noise(7)[10:]
    assert read_file(uris(path, range(3), column)[2]) == noise(2)


def test_rows_in_any_order_from_several_threads_decode_each_group_once(tmp_path, reads):
    path = write(tmp_path / "a.parquet", [noise(row) for row in range(200)])
    shuffled = np.random.default_rng(0).permutation(100).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read_bytes(uris(path, range(200))[row]), [*shuffled, *range(100, 200)]))
    assert found == [noise(row) for row in [*shuffled, *range(100, 200)]]
    assert reads["starts"] == 2 and reads["cells"] == 200


def test_of_a_large_group_only_a_part_is_kept(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(parquet, "KEPT", 1 << 20)
    size, count = 100_000, 100
    path = write(tmp_path / "a.parquet", [noise(row, size) for row in range(count)], count, compression="none", **PAGES)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for uri in uris(path, range(count), "plain", count):
            assert len(read_bytes(uri)) == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reads == {"starts": 1, "cells": count}
    assert peak < 8 << 20
    assert read_bytes(uris(path, range(count), "plain", count)[3]) == noise(3, size)
    assert reads["starts"] == 2 and pa.total_allocated_bytes() - before < 10 << 20


def test_a_file_that_took_the_place_of_another(tmp_path):
    path = write(tmp_path / "a.parquet", [b"first"])
    assert read_bytes(uris(path, range(1))[0]) == b"first"
    write(tmp_path / "a.parquet", [b"other"])
    os.utime(path, (1, 1))
    assert read_bytes(uris(path, range(1))[0]) == b"other"


def test_what_is_not_there_is_an_error_of_its_row(tmp_path):
    path = write(tmp_path / "a.parquet", [b"1", None, b"3"])
    with pytest.raises(OSError, match="no image in this row"):
        read_bytes(uris(path, range(3))[1])
    assert header_at(uris(path, range(3))[1]) is None and read_bytes(uris(path, range(3))[2]) == b"3"
    with pytest.raises(OSError, match="fewer rows"):
        read_bytes(uris(path, range(9))[8])
    assert read_bytes(uris(path, range(3))[0]) == b"1"
    with pytest.raises(FileNotFoundError):
        read_bytes(uris(f"{path}.gone", range(1))[0])
    (tmp_path / "b.parquet").write_bytes(b"no table")
    with pytest.raises(OSError, match="Parquet"):
        read_bytes(uris(str(tmp_path / "b.parquet"), range(1))[0])


def test_damage_costs_the_rows_behind_it_and_is_found_once(tmp_path, reads):
    path = tmp_path / "a.parquet"
    write(path, [noise(row) for row in range(100)], **PAGES | {"data_page_size": 3000})
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    answers = []
    for uri in uris(str(path), range(100)):
        try:
            answers.append(read_bytes(uri))
        except OSError as error:
            answers.append(str(error))
    good = [row for row, answer in enumerate(answers) if answer == noise(row)]
    assert good == list(range(len(good))) and 16 <= len(good) < 60
    assert all("damaged" in answer for answer in answers[len(good) :]) and reads["starts"] == 1


def test_a_store_that_does_not_answer_is_asked_again(tmp_path, reads, monkeypatch):
    path = write(tmp_path / "a.parquet", [b"1", b"2"])

    def down(uri: str) -> object:
        raise StorageError("down")

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "open_table", down)
        with pytest.raises(StorageError):
            read_bytes(uris(path, range(2))[1])
    assert read_bytes(uris(path, range(2))[1]) == b"2"


def test_a_process_gets_all_of_a_group_and_a_few_of_other_files():
    table = uris("/a.parquet", range(150))
    files = [f"/{row}.png" for row in range(40)]
    assert [len(batch) for batch in _batches([*files, *table, *files])] == [32, 8, 100, 50, 32, 8]
