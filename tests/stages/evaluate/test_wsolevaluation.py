"""The published evaluator's own test vectors that are not beside the functions they test."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from stages.batch import ragged
from stages.boxes.components import Components
from stages.boxes.frame import scored_truth
from stages.boxes.iou import at_least, iou
from stages.boxes.protocols import get_protocol
from stages.boxes.threshold import Threshold

CHOE = get_protocol("choe2020")


@pytest.mark.parametrize(
    ("box", "shape", "frame", "expected"),
    [
        ((1, 2, 4, 3), (10, 20), (35, 10), (3, 1, 14, 1)),
        ((1, 2, 1, 2), (3, 3), (3, 3), (1, 2, 1, 2)),
    ],
)
def test_ground_truth_is_truncated_axis_by_axis(box: tuple, shape: tuple, frame: tuple, expected: tuple) -> None:
    transform = np.array([[frame[0] / shape[0], frame[1] / shape[1], 0, 0]])
    half_open = np.add([box], [0, 0, 1, 1])
    assert scored_truth(half_open, transform, CHOE, max(frame)).tolist() == [list(expected)]


def test_an_overlap_of_exactly_half_is_a_hit() -> None:
    overlap = iou(np.array([0, 0, 9, 9]), np.array([0, 0, 9, 19]), "inclusive")
    assert at_least(overlap, (0.5,)).tolist() == [True]


@pytest.mark.parametrize("map", [np.zeros((3, 3)), np.full((3, 3), 0.5), np.full((3, 3), np.nan)])
def test_maps_without_anything_are_the_first_pixel_at_every_threshold(map: np.ndarray) -> None:
    batch = {
        "image_id": np.array([1]),
        "method": ragged(["cam"]),
        "target_rank": np.zeros(1, np.int8),
        "class_index": np.zeros(1, np.int32),
        "label": np.zeros(1, np.int32),
        "boxes": ragged([np.array([[0, 0, 2, 2]], np.float32)]),
        "map": ragged([map]),
        "map_scale": np.ones(1, np.float32),
        "transform": np.array([[1.0, 1, 0, 0]]),
        "width": np.array([3]),
        "height": np.array([3]),
    }
    found = Components(CHOE, 3)(Threshold(CHOE, 3)(batch))
    assert not found["scored_box"].any() and not found["sweep_box"][0].any()
    # Over all contours it is one such box a threshold, too.
    assert found["sweep_all"][0][:, 0].tolist() == list(range(255)) and not found["sweep_all"][0][:, 1:].any()


def lines(folder: Path, name: str) -> list[list[str]]:
    with gzip.open(folder / "ILSVRC" / "test" / f"{name}.txt.gz", "rt") as file:
        return [line.strip().split(",") for line in file]


def test_the_first_images_have_the_published_boxes_and_sizes(wsol_metadata: Path) -> None:
    ids = [row[0] for row in lines(wsol_metadata, "image_ids")][:3]
    sizes = {row[0]: tuple(map(int, row[1:])) for row in lines(wsol_metadata, "image_sizes")}
    boxes: dict[str, list] = {}
    for name, *corners in lines(wsol_metadata, "localization"):
        boxes.setdefault(name, []).append(tuple(map(int, corners)))
    assert [sizes[name] for name in ids] == [(500, 375)] * 3
    assert [boxes[name] for name in ids] == [
        [(111, 108, 441, 193)],
        [(45, 49, 499, 162), (2, 69, 437, 207)],
        [(38, 19, 385, 373)],
    ]
