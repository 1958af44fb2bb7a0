"""Conventions of boxes: COCO's own is never doubted without reason, another one never read as it silently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import DataError
from stages.formats import read_dataset
from stages.formats.coco.box_format import BoxFormat, edges, other_formats

SIZE = (500, 375)
KINDS = ("xywh", "xyxy", "cxcywh")
FORMATS = (*KINDS, *(f"relative-{kind}" for kind in KINDS))


def corners(count: int, seed: int, scale: float = 1) -> np.ndarray:
    """Boxes (count, 4) xyxy of any place and shape within 500 x 375 pixels, ``scale`` times as large."""
    points = np.sort(np.random.default_rng(seed).random((count, 2, 2)), axis=1)
    points[:, 1] = points[:, 0] + np.maximum((points[:, 1] - points[:, 0]) * scale, 0.002)
    return (np.minimum(points, 1) * SIZE).reshape(count, 4)


def written(boxes: np.ndarray, box_format: str) -> np.ndarray:
    """Corners in another convention."""
    if box_format.startswith("relative-"):
        return written(boxes, box_format.removeprefix("relative-")) / np.tile(SIZE, 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    first, second = {
        "xywh": (low, high - low),
        "xyxy": (low, high),
        "cxcywh": ((low + high) / 2, high - low),
    }[box_format]
    return np.concatenate([first, second], axis=1)


@pytest.mark.parametrize("box_format", FORMATS)
def test_every_convention_gives_the_same_edges(box_format: BoxFormat) -> None:
    boxes = corners(50, 0)
    sizes = np.full((50, 2), SIZE)
    np.testing.assert_allclose(edges(written(boxes, box_format), sizes, box_format), boxes, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 1.0]), st.booleans())
def test_boxes_within_their_images_are_never_doubted(count: int, seed: int, scale: float, large: bool) -> None:
    boxes = corners(count, seed, scale)
    if large:  # Objects that fill their image fit every convention.
        boxes = np.concatenate([boxes[:, :2] * 0.2, np.array(SIZE) - boxes[:, :2] * 0.2], axis=1)
    assert other_formats(written(boxes, "xywh"), np.full((count, 2), SIZE)) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_neither_rounding_nor_a_few_wrong_boxes_are_another_convention(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    boxes = written(corners(count, seed), "xywh") + generator.uniform(0, 6, (count, 4))
    wrong = generator.permutation(count)[: max(1, count // 10)]
    boxes[wrong, 2:] = SIZE
    assert other_formats(boxes, np.full((count, 2), SIZE)) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [12, 40, 500])
@pytest.mark.parametrize("box_format", FORMATS[1:])
def test_other_conventions_are_guessed(box_format: str, count: int, seed: int) -> None:
    found = other_formats(written(corners(count, seed), box_format), np.full((count, 2), SIZE))
    if box_format == "cxcywh" and count == 12:
        assert found in ([], ["cxcywh"])  # Of a few centred boxes too few leave their images.
    else:
        assert found[0] == box_format


def test_tiny_sets() -> None:
    size = np.array([SIZE])
    assert other_formats(np.zeros((0, 4)), np.zeros((0, 2))) == []
    assert other_formats(np.array([[300, 200, 400, 300]]), size) == []  # One wrong box, as it seems.
    assert other_formats(np.array([[0, 0, 1, 1]]), size) == []  # A pixel.
    assert other_formats(np.array([[0.25, 0.5, 0.5, 0.75]]), size) == ["relative-xyxy", "relative-cxcywh"]
    assert other_formats(np.array([[300, 200, 400, 300], [250, 250, 400, 300]]), size.repeat(2, 0)) == ["xyxy"]
    assert other_formats(np.array([[300, 200, 400, 300]] * 9), np.zeros((9, 2))) == []  # No size is known.


@pytest.fixture
def dataset(tmp_path: Path):
    """A folder with 30 images and their boxes in a convention."""

    def make(box_format: str, size: tuple[int, int] | None = SIZE) -> str:
        sides = {} if size is None else {"width": size[0], "height": size[1]}
        content = {
            "images": [{"id": number, "file_name": f"{number}.jpg"} | sides for number in range(30)],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1, "bbox": box}
                for number, box in enumerate(written(corners(30, 1), box_format).tolist())
            ],
        }
        (tmp_path / "annotations.json").write_text(json.dumps(content))
        for number in range(30):
            (tmp_path / f"{number}.jpg").touch()
        return str(tmp_path)

    return make


@pytest.mark.parametrize("box_format", FORMATS)
def test_datasets_in_every_convention(dataset, box_format: BoxFormat) -> None:
    root = dataset(box_format)
    data = read_dataset("coco", root, box_format=box_format)
    boxes = np.concatenate([record.boxes for record in data.records])
    np.testing.assert_allclose(boxes, corners(30, 1), atol=1e-3)
    assert data.notes == []
    if box_format == "xywh":
        np.testing.assert_array_equal(np.concatenate([one.boxes for one in read_dataset("coco", root).records]), boxes)
        return
    with pytest.raises(DataError, match=f"choose {box_format}.*, or xywh to take them as they are") as caught:
        read_dataset("coco", root)
    assert caught.value.about == "box_format" and "\n" not in str(caught.value)


def test_boxes_taken_as_they_are_are_counted_where_they_are_clipped(dataset) -> None:
    boxes = corners(30, 1)
    beyond = (boxes[:, :2] + boxes[:, 2:] > np.array(SIZE) + 1).any(axis=1).sum()
    data = read_dataset("coco", dataset("xyxy"), box_format="xywh")
    assert data.notes == [f"{beyond} boxes clipped: they end outside their image"]


def test_shares_of_an_unknown_size_are_counted(dataset) -> None:
    data = read_dataset("coco", dataset("relative-xywh", None), box_format="relative-xywh")
    assert "30 boxes are relative to a size that the file does not give: they are dropped" in data.notes
    assert all(len(record.boxes) == 0 for record in data.records)


def test_the_boxes_of_imagenet_are_not_doubted(imagenet_sample: Path) -> None:
    data = read_dataset("coco", str(imagenet_sample))
    rows = [(box, (one.width, one.height)) for one in data.records for box in written(one.boxes, "xywh")]
    boxes, sizes = (np.array(column) for column in zip(*rows, strict=True))
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 4, 5, 8, 12, 20, 50, len(boxes)):
        for _ in range(100):
            some = generator.permutation(len(boxes))[:count]
            assert other_formats(boxes[some], sizes[some]) == []
