"""Labels that a dataset gave, and a format that is read, written and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.classes import ClassInfo
from stages.formats import read_dataset
from stages.formats.labels import Label, Split, given, labelled
from stages.formats.table import FORMATS
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.run_lengths import encode

MASK = encode(np.eye(12, 20, dtype=bool))
BOXES = np.array([[0.5, 1.25, 10, 8], [3, 3, 20, 12]], np.float32)


def test_every_box_and_a_class_without_one_are_labels() -> None:
    record = ImageRecord(7, "/data/a.png", "a.png", 2, 20, 12, BOXES, np.array([0, -1], np.int32), (MASK, b""))
    assert given(record, "coco") == [
        Label(7, 0, (0.5, 1.25, 10.0, 8.0), None, None, "coco", "given", MASK),
        Label(7, -1, (3.0, 3.0, 20.0, 12.0), None, None, "coco", "given"),
        Label(7, 2, None, None, None, "coco", "given"),
    ]
    assert len(given(replace(record, label=0), "coco")) == 2
    assert given(ImageRecord(7, "/data/a.png", "a.png"), "imagefolder") == []


def test_coco_is_read_written_and_read_again(put, tmp_path: Path) -> None:
    data = Dataset(
        [ClassInfo("tench", "n01440764"), ClassInfo("dog")],
        [
            ImageRecord(3, "", "sub/é.png", 1, 20, 12, BOXES, np.array([0, 1], np.int32), (MASK, b"")),
            ImageRecord(8, "", "none.png", -1, 20, 12),
        ],
        [],
    )
    for folder in ("one", "two"):
        files = FORMATS["coco"].writer()(
            [Split("", lambda read=data: labelled(read.records, "coco"))], data.classes, "a test"
        )
        for name, pieces in files:
            put(f"{folder}/{name}", b"".join(pieces))
        for record in data.records:
            put(f"{folder}/{record.file_name}")
        found = read_dataset("coco", str(tmp_path / folder))
        assert found.classes == data.classes and [note[:22] for note in found.notes] == [
            "1 images have boxes of",
            "1 images have no boxes",
        ]
        for ours, theirs in zip(found.records, data.records, strict=True):
            for name in ("image_id", "file_name", "label", "width", "height", "masks"):
                assert getattr(ours, name) == getattr(theirs, name)
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
            np.testing.assert_array_equal(ours.box_labels, theirs.box_labels)
        data = found
    one, two = (tmp_path / folder / "annotations.json" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
