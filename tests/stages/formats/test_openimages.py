"""OpenImages30k: masks of any mode and size, ignored regions, and what may be wrong with them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.boxes.protocols import get_protocol
from stages.errors import ConfigurationError, DataError
from stages.evaluate.baselines import Baselines, compute
from stages.evaluate.metrics.contract import Scoring
from stages.evaluate.pixels import Truth
from stages.formats import read_dataset
from stages.ingest.geometry import fit_transform
from stages.ingest.run_lengths import decode
from stages.ingest.sizes import fill_sizes
from tests.stages.formats.listed import batch_of
from tests.stages.ingest.bombs import png

A, B, C = "test/01226z/a.v1.jpg", "test/01226z/été 1.jpg", "test/0bt9lr/c.jpg"
MASKS = [f"test/01226z/a_m01226z_{number}.png" for number in range(2)]
LOCATIONS = [
    f"{A},{MASKS[0]},test/01226z/a_ignore.png",
    f"{A},{MASKS[1]},",
    f"{B},test/01226z/b_m01226z_0.png,test/01226z/b_ignore.png",
    f"{C},test/0bt9lr/c_m0bt9lr_0.png,test/0bt9lr/c_ignore.png",
]
BOXES = {A: [[2, 4, 10, 12], [20, 0, 40, 6]], B: [[0, 0, 8, 30]], C: [[10, 10, 12, 20]]}


def rectangle(box: list[int], size: tuple[int, int] = (40, 30), mode: str = "L", scale: float = 1) -> bytes:
    """A PNG with a white rectangle on black; its size and the box are scaled."""
    width, height, x0, y0, x1, y1 = (round(value * scale) for value in (*size, *box))
    pixels = np.zeros((height, width), np.uint8)
    pixels[y0:y1, x0:x1] = 255
    image = Image.fromarray(pixels)
    if mode == "P":  # The numbers of the colours say nothing.
        image = Image.fromarray(1 - pixels // 255)
        image.putpalette([255, 255, 255, 0, 0, 0])
    elif mode == "faint":
        image = Image.fromarray(pixels // 255)
    elif mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16))
    elif mode == "RGBA":  # Transparent where it is black, over white elsewhere.
        image = Image.merge("RGBA", [image] * 4)
    else:
        image = image.convert(mode)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def put_photograph(put):
    def write(name: str, orientation: int = 1) -> None:
        buffer, exif = BytesIO(), Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif)
        put(name, buffer.getvalue())

    return write


@pytest.fixture
def put_set(put, put_photograph):
    """Three images of two classes; their masks have the size of the image, half of it and twice of it."""

    def write(lists: str = "metadata/OpenImages/test/", top: str = "dataset/OpenImages/", **others: list[str]) -> None:
        texts = {"image_ids": [A, B, C], "class_labels": [f"{A},0", f"{B},0", f"{C},1"], "image_sizes": []}
        for name, lines in (texts | {"localization": LOCATIONS} | others).items():
            put(f"{lists}{name}.txt", "\n".join(lines).encode())
        for name in (A, B, C):
            put_photograph(f"{top}{name}")
        for name, box in zip(MASKS, BOXES[A], strict=True):
            put(f"{top}{name}", rectangle(box))
        put(f"{top}test/01226z/b_m01226z_0.png", rectangle(BOXES[B][0], scale=0.5))
        put(f"{top}test/0bt9lr/c_m0bt9lr_0.png", rectangle(BOXES[C][0], scale=2))
        put(f"{top}test/01226z/a_ignore.png", rectangle([0, 0, 40, 12]))
        put(f"{top}test/01226z/b_ignore.png", rectangle([30, 0, 40, 30], scale=0.5))
        put(f"{top}test/0bt9lr/c_ignore.png", rectangle([0, 0, 0, 0]))

    return write


def pixels_of(mask: bytes) -> list[int]:
    """The box that a mask of 40 x 30 pixels fills; empty where it has none."""
    found = decode([mask], 40, 30)
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    assert found.sum() == len(rows) * len(columns)
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] if len(rows) else []


@pytest.mark.parametrize(
    ("lists", "top"),
    [("metadata/OpenImages/test/", "dataset/OpenImages/"), ("test/", ""), ("", ""), ("test/", "masks and images/")],
)
def test_every_object_has_its_mask_and_box(put_set, tmp_path: Path, lists: str, top: str) -> None:
    put_set(lists, top)
    data = read_dataset("openimages", str(tmp_path))
    assert [info.name for info in data.classes] == ["01226z", "0bt9lr"] and data.notes == []
    for filled in (data.records, fill_sizes(data).records):
        assert [(one.image_id, one.file_name, one.label) for one in filled] == [
            (1, f"{top}{A}", 0),
            (2, f"{top}{B}", 0),
            (3, f"{top}{C}", 1),
        ]
        for record, name in zip(filled, (A, B, C), strict=True):
            assert (record.width, record.height) == (40, 30)
            assert record.boxes.tolist() == [pixels_of(mask) for mask in record.masks] == BOXES[name]
            assert record.box_labels.tolist() == [record.label] * len(record.boxes)
        assert [pixels_of(record.ignore) for record in filled] == [[0, 0, 40, 12], [30, 0, 40, 30], []]


def test_the_pixels_that_are_scored_are_those_of_the_published_code(put_set, tmp_path: Path) -> None:
    put_set()
    record = read_dataset("openimages", str(tmp_path)).records[0]
    transform = fit_transform(40, 30, 224, "squash", 1.0)
    inside, ignored = Truth(batch_of([record]), 0).in_frame(transform, 224)

    def loaded(name: str) -> np.ndarray:
        grey = cv2.imread(str(tmp_path / "dataset/OpenImages" / name), cv2.IMREAD_GRAYSCALE)
        return cv2.resize(np.float32(grey), (224, 224), interpolation=cv2.INTER_NEAREST) > 0.5

    union = loaded(MASKS[0]) | loaded(MASKS[1])
    np.testing.assert_array_equal(inside, union)
    np.testing.assert_array_equal(ignored, loaded("test/01226z/a_ignore.png") & ~union)
    rules = get_protocol("choe2020")
    counts = Baselines(rules, 224, (0.5,)).update(batch_of([record]))
    found = compute(counts, Scoring(rules, (0.5,), 0))
    # A constant map: at every threshold all that is scored, of which the object is this share.
    scored = ~(loaded("test/01226z/a_ignore.png") & ~union)
    assert found["full_image"]["pxap"]["value"] == pytest.approx(union.sum() / scored.sum(), abs=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "faint"])
def test_modes_of_masks(put_set, put, tmp_path: Path, mode: str) -> None:
    """What is not black is the object."""
    put_set()
    put(f"dataset/OpenImages/{MASKS[1]}", rectangle(BOXES[A][1], mode=mode))
    data = read_dataset("openimages", str(tmp_path))
    assert data.records[0].boxes.tolist() == BOXES[A] and data.notes == []


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1.3, 3.3])
def test_masks_of_any_size_are_sampled_as_opencv_does(put_set, put, tmp_path: Path, scale: float) -> None:
    put_set()
    path = put(f"dataset/OpenImages/{MASKS[0]}", rectangle([11, 3, 30, 22], scale=scale))
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(grey, (40, 30), interpolation=cv2.INTER_NEAREST) > 0
    record = read_dataset("openimages", str(tmp_path)).records[0]
    np.testing.assert_array_equal(decode([record.masks[0]], 40, 30), expected)


@pytest.mark.parametrize("orientation", [3, 6])
def test_photographs_that_are_stored_turned(put_set, put, put_photograph, tmp_path: Path, orientation: int) -> None:
    """Masks belong to the pixels as they are stored, unless their shape is that of the displayed image."""
    put_set()
    put_photograph(f"dataset/OpenImages/{B}", orientation)
    record = fill_sizes(read_dataset("openimages", str(tmp_path))).records[1]
    turned = {3: [32, 0, 40, 30], 6: [0, 0, 30, 8]}[orientation]
    assert record.boxes.tolist() == [turned]
    assert decode([record.masks[0]], record.width, record.height).sum() == 8 * 30
    put("dataset/OpenImages/test/01226z/b_m01226z_0.png", rectangle([0, 0, 8, 40], (30, 40)))
    record = fill_sizes(read_dataset("openimages", str(tmp_path))).records[1]
    assert orientation == 3 or (record.width, record.height, record.boxes.tolist()) == (30, 40, [[0, 0, 8, 40]])


def test_mistakes_cost_their_mask(put_set, put, tmp_path: Path) -> None:
    put_set(
        localization=[
            *LOCATIONS,
            f"{A},{MASKS[1]},test/01226z/other_ignore.png",
            f"{C},test/0bt9lr/gone.png,",
            f"{C},test/0bt9lr/broken.png,",
            f"{C},test/0bt9lr/bomb.png,",
            f"{C},test/0bt9lr/black.png,",
            "x",
        ],
        class_labels=[f"{A},0", f"{B},1", f"{C},1"],
    )
    top = "dataset/OpenImages/"
    put(f"{top}test/0bt9lr/broken.png", rectangle([0, 0, 9, 9])[:-30])
    put(f"{top}test/0bt9lr/bomb.png", png(20_000, 20_000))
    put(f"{top}test/0bt9lr/black.png", rectangle([0, 0, 0, 0]))
    (tmp_path / top / "test/01226z/b_ignore.png").unlink()
    (tmp_path / top / B).unlink()
    data = read_dataset("openimages", str(tmp_path))
    assert [record.boxes.tolist() for record in data.records] == [BOXES[A], [[0, 0, 4, 15]], BOXES[C]]
    assert [record.label for record in data.records] == [0, 1, 1] and data.records[1].ignore is None
    assert sorted(data.notes) == sorted(
        [
            "1 lines of localization.txt lack 2 paths after the name: left out, such as: line 10",
            f"1 masks are named twice: they count once, such as: {A}",
            f"1 images have several ignored regions: the first is used, such as: {A}",
            f"1 images are not under {tmp_path}, such as: {B}",
            f"1 masks are not under {tmp_path}, such as: test/0bt9lr/gone.png",
            f"1 ignored regions are not under {tmp_path}, such as: test/01226z/b_ignore.png",
            "2 masks cannot be read, or have more than 89,478,485 pixels: left out, such as: "
            f"{top}test/0bt9lr/broken.png",
            f"1 masks are empty: left out, such as: {C}",
            "1 images lie in another class's folder: their label decides",
        ]
    )


def test_the_part_for_training_has_labels_only(put, put_photograph, tmp_path: Path) -> None:
    names = ["train/01226z/1.jpg", "train/0bt9lr/2.jpg"]
    put("metadata/OpenImages/train/image_ids.txt", "\n".join(names).encode())
    put("metadata/OpenImages/train/class_labels.txt", f"{names[0]},0\n{names[1]},1".encode())
    for name in names:
        put_photograph(f"OpenImages/{name}")
    data = read_dataset("openimages", str(tmp_path), split="train")
    assert [(one.label, len(one.boxes), one.masks, one.ignore) for one in data.records] == [
        (0, 0, (), None),
        (1, 0, (), None),
    ]
    assert data.notes == [f"{tmp_path}/metadata/OpenImages/train has no localization.txt: there are labels only"]
    with pytest.raises(ConfigurationError, match="of the part test; it has train"):
        read_dataset("openimages", str(tmp_path))
    (tmp_path / "metadata/OpenImages/train/class_labels.txt").unlink()
    with pytest.raises(DataError, match=r"has image_ids\.txt but no class_labels\.txt; add it"):
        read_dataset("openimages", str(tmp_path), split="train")


@pytest.mark.parametrize(
    ("split", "images", "masks"), [pytest.param("test", 5000, 7632, marks=pytest.mark.slow), ("val", 2500, 3854)]
)
def test_the_published_lists(wsol_metadata: Path, split: str, images: int, masks: int) -> None:
    data = read_dataset("openimages", str(wsol_metadata), split=split)
    assert np.bincount([record.label for record in data.records]).tolist() == [images // 100] * 100
    assert [line.partition(" under")[0] for line in data.notes] == [
        f"{images:,} images are not",
        f"{masks:,} masks are not",
        f"{images:,} ignored regions are not",
        f"{images:,} images have no mask",
    ]
