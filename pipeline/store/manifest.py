"""The manifest: a run's images in a stable order, cut into shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.schema import MANIFEST, MASKED_MANIFEST
from stages.batch import Batch, concat, ragged
from stages.ingest.records import ImageRecord

ROW_GROUP = 1024


@dataclass(frozen=True)
class Shard:
    """A slice of the manifest: the unit of scheduling, retry, commit and resume.

    Attributes:
        index: Number in the names of the shard's files.
        start: First row.
        stop: One past the last row.
    """

    index: int
    start: int
    stop: int


def shard_length(images: int, shard_size: int | str) -> int:
    """Number of images per shard; ``auto`` aims at 32 shards of 32 to 1024 images.

    >>> shard_length(333, "auto"), shard_length(5000, "auto"), shard_length(50_000, "auto")
    (32, 157, 1024)
    """
    return min(1024, max(32, math.ceil(images / 32))) if shard_size == "auto" else int(shard_size)


def cut_into_shards(images: int, size: int) -> list[Shard]:
    """Equal slices of the manifest; the last may be shorter.

    >>> cut_into_shards(100, 60)
    [Shard(index=0, start=0, stop=60), Shard(index=1, start=60, stop=100)]
    """
    starts = range(0, images, size)
    return [Shard(index, start, min(start + size, images)) for index, start in enumerate(starts)]


def select(records: list[ImageRecord], sample: int | None, limit: int | None, seed: int) -> list[ImageRecord]:
    """A seeded sample that takes the same share of every class, then the first images by id."""
    if sample is not None and sample < len(records):
        generator = np.random.default_rng(seed)
        labels = np.array([record.label for record in records])
        by_class = np.lexsort((generator.random(len(records)), labels))
        evenly = (np.arange(sample) + generator.random()) * (len(records) / sample)
        records = [records[row] for row in np.sort(by_class[evenly.astype(np.int64)])]
    return records[:limit]


def relabel(records: list[ImageRecord], outputs: np.ndarray) -> list[ImageRecord]:
    """Records whose labels are network outputs.

    Args:
        records: Records whose labels are indices into the dataset's classes.
        outputs: (classes,) int32 network output of each class, -1 for none.
    """
    with_none = np.append(outputs, np.int32(-1))  # index -1, no label, stays -1
    return [
        replace(
            record,
            label=int(with_none[record.label]),
            labels=tuple(with_none[list(record.labels)].tolist()),
            box_labels=with_none[record.box_labels],
        )
        for record in records
    ]


def to_table(records: list[ImageRecord]) -> pa.Table:
    """The manifest as the stored table."""
    columns = {
        name: [getattr(record, name) for record in records]
        for name in ("image_id", "uri", "file_name", "label", "width", "height")
    }
    columns["labels"] = [record.shown for record in records]
    columns["boxes"] = [record.boxes.tolist() for record in records]
    columns["box_labels"] = [record.box_labels.tolist() for record in records]
    if not any(record.masks for record in records):
        return pa.table(columns, schema=MANIFEST)
    columns["masks"] = [list(record.masks) for record in records]
    columns["ignore"] = [record.ignore for record in records]
    return pa.table(columns, schema=MASKED_MANIFEST)


def read_records(source: str | BinaryIO) -> Iterator[list[ImageRecord]]:
    """The records of a stored manifest, one row group at a time."""
    with pq.ParquetFile(source) as file:
        for group in range(file.num_row_groups):
            yield [
                ImageRecord(
                    **{
                        **row,
                        "boxes": np.array(row["boxes"], np.float32).reshape(-1, 4),
                        "box_labels": np.array(row["box_labels"], np.int32),
                        "labels": tuple(row.get("labels", ())),
                        "masks": tuple(row.get("masks", ())),
                    }
                )
                for row in file.read_row_group(group).to_pylist()
            ]


def read_sample(source: str | BinaryIO, count: int, seed: int, labelled: bool) -> Batch:
    """A seeded choice of the images, in the order of the manifest, as :func:`read_shard` gives them.

    Args:
        source: The manifest.
        count: Most images that are chosen.
        seed: Seed of the choice.
        labelled: Whether only images with a label are.
    """
    with pq.ParquetFile(source) as file:
        labels = file.read(columns=["label"])["label"].to_numpy()
        places = np.flatnonzero(labels >= 0) if labelled else np.arange(len(labels))
        chosen = np.sort(np.random.default_rng(seed).permutation(places)[:count])
        groups = np.unique(chosen // ROW_GROUP)
        return concat(
            [
                _batch(file.read_row_group(group).take(chosen[chosen // ROW_GROUP == group] - group * ROW_GROUP))
                for group in groups.tolist()
            ]
        )


def read_shard(source: str | BinaryIO, shard: Shard) -> Batch:
    """The rows of one shard as the first batch of the stages.

    ``boxes`` are those of the image's label: where a dataset gives the class of every box, a box around
    another object is not a correct answer. ``masks`` are those of the same objects, None where they have none,
    and ``ignore`` the region that is not scored. ``others`` has the boxes of the further classes that the image shows,
    by class.
    """
    groups = range(shard.start // ROW_GROUP, math.ceil(shard.stop / ROW_GROUP))
    with pq.ParquetFile(source) as file:
        table = file.read_row_groups(list(groups))
    return _batch(table.slice(shard.start - groups.start * ROW_GROUP, shard.stop - shard.start))


def _batch(table: pa.Table) -> Batch:
    batch: Batch = {name: table[name].to_numpy() for name in ("image_id", "label", "width", "height")}
    batch["uri"] = ragged(table["uri"].to_pylist())
    of_label = [
        np.array(labels, dtype=np.int32) == label
        for labels, label in zip(table["box_labels"].to_pylist(), batch["label"], strict=True)
    ]
    edges = [np.array(boxes, dtype=np.float32).reshape(-1, 4) for boxes in table["boxes"].to_pylist()]
    batch["boxes"] = ragged(boxes[own] for boxes, own in zip(edges, of_label, strict=True))
    shown = table["labels"].to_pylist() if "labels" in table.column_names else [[]] * table.num_rows
    owners = table["box_labels"].to_pylist()
    batch["others"] = ragged(
        {index: boxes[np.array(owner, np.int32) == index] for index in labels if index != label}
        for labels, label, boxes, owner in zip(shown, batch["label"].tolist(), edges, owners, strict=True)
    )
    batch["masks"], batch["ignore"] = (ragged([None] * table.num_rows) for _ in range(2))
    if "masks" in table.column_names:
        batch["masks"] = ragged(
            _all_or_none([mask for mask, mine in zip(masks, own, strict=True) if mine] if masks else [])
            for masks, own in zip(table["masks"].to_pylist(), of_label, strict=True)
        )
        batch["ignore"] = ragged(table["ignore"].to_pylist())
    return batch


def _all_or_none(masks: list[bytes]) -> list[bytes] | None:
    """Masks of an image's objects; None where any is missing, since the pixels of that object are unknown."""
    return masks if masks and all(masks) else None
