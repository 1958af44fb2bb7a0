"""Boxes that belong to the stored image, in the displayed one: checked on the pixels that Pillow turns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.formats import read_dataset
from stages.ingest import run_lengths
from stages.ingest.decode import decode
from stages.ingest.geometry import upright_boxes, upright_mask
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes
from tests.stages.formats.ilsvrc import TENCH, stem, xml

# Inclusive in ILSVRC's files, half-open here; nowhere symmetric.
BOX = (3, 1, 10, 5)
SIZE = (20, 12)
TURNED = "1 images are stored turned or mirrored, and so are their boxes: these are turned with them"
OTHER = "1 images have neither as stored nor as displayed the size that is stated for them"


def picture(encode, orientation: int, size: tuple[int, int] = SIZE, box: tuple[int, ...] = BOX) -> bytes:
    """A white box on black, stored as an EXIF orientation says."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode("PNG", Image.fromarray(pixels), exif=exif)


def shown(data: bytes) -> list[int]:
    """The white box as it is displayed."""
    rows, columns = np.nonzero(np.asarray(decode(data))[..., 0])
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_masks_turn_as_the_pixels_do(encode, orientation: int) -> None:
    data = picture(encode, orientation)
    boxes = np.array([BOX, (0, 0, *SIZE)], np.float32)
    turned = upright_boxes(boxes, *SIZE, orientation)
    width, height = decode(data).size
    assert turned.tolist() == [shown(data), [0, 0, width, height]] and turned.dtype == np.float32
    mask = np.zeros(SIZE[::-1], bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    assert np.array_equal(upright_mask(mask, orientation), np.asarray(decode(data))[..., 0] > 0)
    assert upright_boxes(np.zeros((0, 4), np.float32), *SIZE, orientation).shape == (0, 4)


def ilsvrc(put, data: bytes, size: tuple[int, int] | None) -> Dataset:
    """An image of the validation set, annotated by the CSV alone or by XML that states a size."""
    inclusive = (BOX[0], BOX[1], BOX[2] - 1, BOX[3] - 1)
    root = put(f"{stem(1)}.JPEG", data).parent
    if size:
        put(f"Annotations/{stem(1)}.xml", xml(1, TENCH, inclusive, size=size))
    else:
        text = f"ImageId,PredictionString\n{stem(1)},{TENCH} {' '.join(map(str, inclusive))}"
        put("LOC_val_solution.csv", text.encode())
    return fill_sizes(read_dataset("imagenet", str(root)))


def coco(put, data: bytes, size: tuple[int, int] | None, masked: bool = False) -> Dataset:
    x0, y0, x1, y1 = BOX
    polygon = [[x0, y0, x1, y0, x1, y1, x0, y1]] if masked else []
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": polygon}
    image = {"id": 1, "file_name": "a.png"} | ({"width": size[0], "height": size[1]} if size else {})
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "a"}]}
    root = put("a.png", data).parent
    put("annotations.json", json.dumps(content).encode())
    return fill_sizes(read_dataset("coco", str(root)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stated", [None, SIZE])
def test_boxes_of_ilsvrc_belong_to_the_stored_image(put, encode, stated, orientation: int) -> None:
    data = picture(encode, orientation)
    (record,), notes = (found := ilsvrc(put, data, stated)).records, found.notes
    assert record.boxes.tolist() == [shown(data)]
    assert (record.width, record.height) == decode(data).size
    assert notes == ([TURNED] if orientation > 1 else [])


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_stated_size_that_is_displayed_alone_decides(put, encode, orientation: int) -> None:
    found = ilsvrc(put, picture(encode, orientation), SIZE[::-1])
    assert found.records[0].boxes.tolist() == [list(BOX)] and found.notes == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_coco_belong_to_the_image_of_the_stated_size(put, encode, orientation: int) -> None:
    data = picture(encode, orientation)
    found = coco(put, data, SIZE, masked=True)
    (record,) = found.records
    turned = orientation >= 5
    assert record.boxes.tolist() == [shown(data) if turned else list(BOX)]
    assert (record.width, record.height) == decode(data).size
    mask = run_lengths.decode(list(record.masks), record.width, record.height)
    x0, y0, x1, y1 = record.boxes[0].astype(int)
    assert mask.sum() == mask[y0:y1, x0:x1].sum() == (BOX[2] - BOX[0]) * (BOX[3] - BOX[1])
    assert found.notes == ([TURNED] if turned else [])
    for stated in (None, SIZE[::-1] if turned else SIZE):
        (record,) = coco(put, data, stated).records
        assert record.boxes.tolist() == [list(BOX)] and (record.width, record.height) == decode(data).size


def test_where_the_size_cannot_tell_the_format_does(put, encode) -> None:
    square = picture(encode, 6, (12, 12))
    assert ilsvrc(put, square, (12, 12)).records[0].boxes.tolist() == [shown(square)]
    assert coco(put, square, (12, 12)).records[0].boxes.tolist() == [list(BOX)]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_size_that_is_neither_is_counted(put, encode, orientation: int) -> None:
    found = ilsvrc(put, picture(encode, orientation), (40, 24))
    (record,) = found.records
    assert record.boxes.tolist() == [list(BOX)] and (record.width, record.height) == (40, 24)
    assert found.notes == [OTHER]


def test_an_image_that_cannot_be_read_keeps_its_stated_size(tmp_path: Path) -> None:
    record = ImageRecord(1, str(tmp_path / "absent.png"), "absent.png", width=7, height=5)
    found = fill_sizes(Dataset([], [record], [], "stored"))
    assert (found.records[0].width, found.records[0].height) == (7, 5) and found.notes == []


@pytest.mark.parametrize("stated", ["stored", "displayed"])
def test_where_the_size_cannot_tell_those_of_the_other_images_do(put, encode, stated: str) -> None:
    x0, y0, x1, y1 = BOX
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": [{"id": 1}]}
    pictures = [picture(encode, 6), picture(encode, 3), picture(encode, 6, (20, 20))]
    for number, (data, size) in enumerate(zip(pictures, [SIZE, SIZE, (20, 20)], strict=True), 1):
        put(f"{number}.png", data)
        width, height = size[::-1] if number == 1 and stated == "displayed" else size
        content["images"].append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        box = [x0, y0, x1 - x0, y1 - y0]
        content["annotations"].append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    root = put("annotations.json", json.dumps(content).encode()).parent
    boxes = [record.boxes[0].tolist() for record in fill_sizes(read_dataset("coco", str(root))).records]
    assert boxes == ([shown(data) for data in pictures] if stated == "stored" else [list(BOX)] * 3)
