from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.store.manifest import Shard, cut_into_shards, read_shard, relabel, select, to_table
from pipeline.store.rundir import encode
from stages.ingest.records import ImageRecord


def records(count: int) -> list[ImageRecord]:
    boxes = np.array([[0, 1, 5, 6], [2, 2, 9, 9]], dtype=np.float32)
    return [
        ImageRecord(
            image_id=number * 3,
            uri=f"/x/{number}.jpg",
            file_name=f"{number}.jpg",
            label=number % 4,
            width=10,
            height=12,
            boxes=boxes[: number % 3],
            box_labels=np.array([number % 4, 9], dtype=np.int32)[: number % 3],
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("size", [1, 700, 1024, 5000])
def test_shards_read_back_what_was_written(tmp_path, size):
    given = records(2500)
    (tmp_path / "manifest.parquet").write_bytes(encode(to_table(given), 1024))
    found = [read_shard(tmp_path / "manifest.parquet", shard) for shard in cut_into_shards(2500, size)[:4]]
    ids = np.concatenate([batch["image_id"] for batch in found])
    assert ids.tolist() == [record.image_id for record in given[: len(ids)]]
    for row, record in enumerate(given[: min(size, 50)]):
        assert found[0]["uri"][row] == record.uri
        # Only the boxes of the label's class are right answers.
        np.testing.assert_array_equal(found[0]["boxes"][row], record.boxes[record.box_labels == record.label])
        assert found[0]["boxes"][row].shape[1:] == (4,)


def test_shards_cover_every_row_once():
    shards = cut_into_shards(1000, 33)
    assert [shard.index for shard in shards] == list(range(31))
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(1000))
    assert cut_into_shards(0, 33) == [] and cut_into_shards(3, 33) == [Shard(0, 0, 3)]


def test_a_sample_is_stratified_seeded_and_exact():
    given = [ImageRecord(number, "", "", label=min(number // 10, 5)) for number in range(100)]
    sample = select(given, 20, None, seed=1)
    assert len(sample) == 20
    assert [record.image_id for record in sample] == sorted(record.image_id for record in sample)
    shares = Counter(record.label for record in sample)
    assert all(abs(shares[label] - (2 if label < 5 else 10)) <= 1 for label in range(6))
    assert select(given, 20, None, seed=1) == sample != select(given, 20, None, seed=2)
    assert select(given, 500, None, seed=1) == given
    assert select(given, 20, 5, seed=1) == sample[:5]


def test_labels_become_network_outputs():
    given = [ImageRecord(1, "", "", 0), ImageRecord(2, "", "", 1), ImageRecord(3, "", "", -1)]
    assert [one.label for one in relabel(given, np.array([285, -1], dtype=np.int32))] == [285, -1, -1]
