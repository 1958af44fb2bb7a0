from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from stages.ingest import sizes
from stages.ingest.decode import decode
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes


def test_orientation_after_the_pixels_of_a_long_png(put, encode) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    block = turned.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    data = encode("PNG", Image.effect_noise((300, 400), 90))
    path = put("a.png", data[:-12] + chunk + data[-12:])
    assert len(data) > 1 << 16 and decode(path.read_bytes()).size == (400, 300)
    (record,) = fill_sizes(Dataset([], [ImageRecord(1, str(path), "a.png")], [])).records
    assert (record.width, record.height) == (400, 300)


def test_sizes_are_the_displayed_ones_and_boxes_are_clipped(put, encode, tmp_path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = Image.effect_noise((300, 400), 90)
    files = [
        put("plain.jpg", encode("JPEG")),
        put("turned.jpg", encode("JPEG", exif=turned)),
        put("turned.tif", encode("TIFF", exif=turned)),
        put("turned.png", encode("PNG", exif=turned)),
        put("turned.webp", encode("WEBP", exif=turned)),
        put("big.png", encode("PNG", noise)),
        put("broken.jpg", b"\xff\xd8\xff"),
        tmp_path / "absent.jpg",
        put("known.jpg", b""),
    ]
    boxes = np.array([[0, 0, 100, 8], [50, 0, 60, 10]], dtype=np.float32)
    records = [
        ImageRecord(row, str(path), path.name, 0, 7 * (path.stem == "known"), 5, boxes, np.array([3, 4], np.int32))
        for row, path in enumerate(files)
    ]
    filled = fill_sizes(Dataset([], records, ["before"]))
    found = [(record.width, record.height) for record in filled.records]
    assert found == [(20, 12), *[(12, 20)] * 4, (300, 400), (0, 0), (0, 0), (7, 5)]
    for path, size in zip(files[:6], found, strict=False):
        assert decode(path.read_bytes()).size == size
    assert filled.records[0].boxes.tolist() == [[0, 0, 20, 8]]
    assert filled.records[0].box_labels.tolist() == [3]
    assert filled.records[6].boxes.tolist() == boxes.tolist()
    clipped = "5 boxes clipped: they end outside their image, whose size is read from its file"
    assert filled.notes == ["before", "5 boxes dropped: outside their image", clipped]


def test_an_image_that_ends_the_process_that_reads_it_is_named_and_stays(put, encode, monkeypatch) -> None:
    """What a worker makes of it, :mod:`tests.faults.test_segfault` says."""
    monkeypatch.setattr(sizes, "_HEADER_AT", "tests.stages.ingest.calls:header_or_death")
    files = [put("a.png"), put("deadly.png"), put("b.png", encode("PNG", Image.new("RGB", (7, 5))))]
    records = [ImageRecord(row, str(path), path.name) for row, path in enumerate(files)]
    found = fill_sizes(Dataset([], records, []))
    assert [(record.width, record.height) for record in found.records] == [(20, 12), (0, 0), (7, 5)]
    assert found.notes == ["1 images end or hang the process that reads their headers, such as: deadly.png"]
