"""The chosen component, ties, wsolevaluation's contour rules, and boxes in the displayed image."""

from __future__ import annotations

import numpy as np
import pytest

from stages.batch import Batch, ragged
from stages.boxes.components import Components, component_box, contour_boxes, sweep
from stages.boxes.frame import scored_empty, scored_in_frame
from stages.boxes.largest import largest_pixels
from stages.boxes.protocols import get_protocol
from stages.boxes.threshold import Threshold, heat

CAM = get_protocol("cam2016")
CHOE = get_protocol("choe2020")


def blank(side: int, *blocks: tuple[int, int, int, int]) -> np.ndarray:
    """A mask with filled (x0, y0, x1, y1) blocks."""
    mask = np.zeros((side, side), bool)
    for x0, y0, x1, y1 in blocks:
        mask[y0:y1, x0:x1] = True
    return mask


def choe_box(map: np.ndarray, threshold: float = 0.2) -> list[float]:
    """The box that wsolevaluation's rules score for a map of the frame's size."""
    size = len(map)
    values = heat(map.astype(np.float64), CHOE, size)
    box = component_box(values > CHOE.cutoffs(np.array([threshold]))[0], CHOE)
    return (scored_empty(CHOE) if box is None else scored_in_frame(box, CHOE, size)).tolist()


def test_most_pixels_not_largest_extent() -> None:
    mask = blank(12, (0, 0, 12, 1), (4, 4, 9, 9))
    assert component_box(mask, CAM).tolist() == [4, 4, 9, 9]


def test_diagonal_neighbours_join_under_8_only() -> None:
    mask = np.eye(5, dtype=bool)
    assert largest_pixels(mask, 8).tolist() == [0, 0, 5, 5]
    assert largest_pixels(mask, 4).tolist() == [0, 0, 1, 1]


def test_among_equals_the_first_pixel_in_raster_order_decides() -> None:
    # The upper component starts right of the lower one, within the same 2 x 2 blocks that some labelling
    # algorithms number instead of pixels.
    mask = np.zeros((4, 8), bool)
    mask[0, 6:8] = mask[1, 0:2] = True
    assert largest_pixels(mask, 8).tolist() == [6, 0, 8, 1]
    assert largest_pixels(mask, 4).tolist() == [6, 0, 8, 1]
    # The first one also ends last.
    assert largest_pixels(blank(5, (0, 0, 1, 3), (2, 1, 5, 2)), 8).tolist() == [0, 0, 1, 3]


def test_an_empty_mask_has_no_box() -> None:
    assert component_box(np.zeros((4, 4), bool), CAM) is None
    assert component_box(np.zeros((4, 4), bool), CHOE) is None


# Vectors of wsolevaluation's own tests: maps of 5 x 4 and their boxes at 0, 0.2, 0.4, 0.6, 0.8. A row of
# background on top makes them square without touching the right and bottom border.
FIRST = [[0, 0, 0, 0, 0], [0, 0.4, 0.4, 0.4, 0.6], [0, 0.4, 1, 0.8, 0.6], [0, 0.4, 0.4, 0.4, 0.6]]
SECOND = [[0.4, 0, 0.2, 0.2, 0.2], [0.4, 0.4, 0, 0.4, 0], [0, 0, 0, 0.4, 0], [1, 0.6, 0.8, 0.2, 0.2]]


@pytest.mark.parametrize(
    ("map", "boxes"),
    [
        (FIRST, [[1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]]),
        (SECOND, [[0, 0, 4, 3], [0, 0, 2, 2], [0, 3, 3, 3], [2, 3, 3, 3], [0, 3, 1, 3]]),
    ],
)
def test_wsolevaluation_boxes(map: list, boxes: list) -> None:
    square = np.vstack([np.zeros((1, 5)), map])
    found = np.array([choe_box(square, threshold) for threshold in np.arange(0, 1, 0.2)])
    assert (found - [0, 1, 0, 1]).tolist() == boxes


def test_wsolevaluation_empty_map_is_the_first_pixel() -> None:
    assert choe_box(np.zeros((3, 3))) == [0, 0, 0, 0]


def test_wsolevaluation_strict_comparison_of_truncated_levels() -> None:
    for second, contours in ((51 / 255, 1), (52 / 255, 2), (0.2039, 1)):
        map = np.zeros((8, 8))
        map[4, 4], map[2, 2] = 1, second
        mask = heat(map, CHOE, 8) > CHOE.cutoffs(np.array([0.2]))[0]
        assert len(contour_boxes(mask)) == contours


def test_wsolevaluation_polygon_area() -> None:
    assert choe_box(blank(40, (1, 1, 36, 2), (10, 10, 12, 12))) == [10, 10, 12, 12]
    ring = blank(40, (2, 2, 16, 16), (20, 20, 32, 32))
    ring[3:15, 3:15] = False
    assert ring.sum() == 52 + 144
    assert choe_box(ring) == [2, 2, 16, 16]
    boxes = contour_boxes(ring)
    assert len(boxes) == 3 and boxes[0].tolist() == [2, 2, 16, 16]
    assert choe_box(np.diag([0, 1, 1, 1, 0, 0, 0, 0])) == [1, 1, 4, 4]


def test_wsolevaluation_ties_and_borders() -> None:
    assert choe_box(blank(20, (2, 2, 5, 5), (12, 12, 15, 15))) == [12, 12, 15, 15]
    assert choe_box(blank(10, (5, 5, 6, 6))) == [5, 5, 6, 6]
    assert choe_box(blank(10, (9, 9, 10, 10))) == [9, 9, 9, 9]
    ones = component_box(np.ones((10, 10), bool), CHOE)
    assert scored_in_frame(ones, CHOE, 10).tolist() == [0, 0, 9, 9]


def test_sweep_with_all_contours_lists_holes_and_empties() -> None:
    ring = blank(12, (2, 2, 9, 9)).astype(np.float32)
    ring[4:7, 4:7] = 0
    chosen, everything = sweep(ring * np.float32(100 / 255), CHOE)
    assert chosen.shape == (255, 4)
    assert chosen[99].tolist() == [2, 2, 9, 9] and not chosen[100:].any()
    assert (everything[:, 0] == 99).sum() == 2 and (everything[:, 0] == 100).sum() == 1


def rows(maps: list[np.ndarray], size: int, protocol=CAM, **columns) -> Batch:
    """A thresholded batch of one row an image of 2 size x size pixels, squashed."""
    n = len(maps)
    batch = {
        "image_id": np.arange(n),
        "method": ragged(["cam"] * n),
        "target_rank": np.zeros(n, np.int8),
        "class_index": np.zeros(n, np.int32),
        "label": np.zeros(n, np.int32),
        "boxes": ragged([np.array([[0, 0, 4, 4]], np.float32)] * n),
        "map": ragged(maps),
        "map_scale": np.ones(n, np.float32),
        "transform": np.tile([0.5, 1.0, 0, 0], (n, 1)),
        "width": np.full(n, 2 * size, np.int32),
        "height": np.full(n, size, np.int32),
        **columns,
    }
    return Threshold(protocol, size)(batch)


def test_stage_returns_displayed_boxes() -> None:
    batch = Components(CAM, 8)(rows([blank(8, (2, 3, 5, 7)).astype(np.float16), np.zeros((8, 8))], 8))
    assert batch["box"].dtype == np.float32
    assert batch["box"].tolist() == [[4, 3, 10, 7], [0, 0, 0, 0]]
    assert batch["scored_box"].tolist() == batch["box"].tolist()
    assert batch["sweep_box"][0].shape == (100, 4)
    assert (batch["sweep_box"][0] == [4, 3, 10, 7]).all() and not batch["sweep_box"][1].any()
    assert "heat" not in batch and "mask" not in batch


def test_a_finer_square_leads_back_to_the_same_pixels() -> None:
    protocol = get_protocol("cam2016", side=32)
    batch = rows([blank(8, (2, 3, 5, 7)).astype(np.float16)], 8, protocol)
    assert batch["heat"].shape == (1, 32, 32)
    found = Components(protocol, protocol.frame_side(8))(batch)
    # Interpolated to four times the side, the cut lies within a cell of where it was.
    np.testing.assert_allclose(found["box"][0], [4, 3, 10, 7], atol=2)
    assert found["box"][0][0] < found["box"][0][2] <= 12


def test_a_constant_map_is_the_visible_frame_under_max() -> None:
    batch = rows([np.full((2, 2), 0.5, np.float16)], 8, transform=np.array([[0.5, 0.5, 0, 2.0]]))
    found = Components(CAM, 8)(batch)
    assert found["box_status"].tolist() == ["constant_map"]
    assert found["box"].tolist() == [[0, 0, 16, 8]]


def test_no_area_wherever_the_frame_lies() -> None:
    shifted = rows([np.zeros((2, 2))], 8, transform=np.array([[1.0, 1.0, -3, 0]]))
    found = Components(CAM, 8)(shifted)
    assert not found["box"].any() and not found["sweep_box"][0].any()


@pytest.mark.parametrize(
    ("protocol", "scored"),
    [
        (get_protocol("choe2020", empty="none"), [0, 0, -1, -1]),
        (get_protocol("cam2016", empty="origin"), [0, 0, 1, 1]),
    ],
)
def test_empty_maps_are_scored_as_the_protocol_says(protocol, scored: list[int]) -> None:
    found = Components(protocol, 8)(rows([np.zeros((2, 2))], 8, protocol))
    assert found["box"].tolist() == [[0, 0, 0, 0]]
    assert found["scored_box"].tolist() == [scored]
    assert (found["sweep_box"][0] == scored).all()


def test_choe_scores_in_the_frame_with_its_own_empty_box() -> None:
    maps = [blank(8, (2, 3, 5, 7)).astype(np.float16), np.zeros((8, 8))]
    batch = Components(CHOE, 8)(rows(maps, 8, CHOE))
    assert batch["box"].tolist()[1] == [0, 0, 0, 0]
    assert batch["scored_box"].tolist()[1] == [0, 0, 0, 0]
    x0, y0, x1, y1 = batch["scored_box"][0]
    assert batch["box"][0].tolist() == [2 * x0, y0, 2 * x1, y1]
    assert batch["sweep_box"][0].shape == (255, 4) and batch["sweep_all"][0].shape[1] == 5


def test_sweeps_are_for_labels_with_ground_truth_only() -> None:
    map = np.random.default_rng(0).random((7, 7)).astype(np.float16)
    none = np.zeros((0, 4), np.float32)
    one = np.array([[0, 0, 4, 4]], np.float32)
    batch = rows(
        [map] * 4,
        16,
        target_rank=np.array([0, 1, 0, 0], np.int8),
        label=np.array([0, 0, 0, -1], np.int32),
        boxes=ragged([one, one, none, one]),
    )
    found = Components(CAM, 16)(batch)["sweep_box"]
    assert [boxes is None for boxes in found] == [False, True, True, True]
    assert all(boxes is None for boxes in Components(CAM, 16, sweep=False)(batch)["sweep_box"])


def test_rows_do_not_depend_on_the_others_of_their_batch() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(7, 7)).astype(np.float16) for _ in range(6)]
    batch = rows(
        [maps[0], *maps],
        32,
        image_id=np.array([0, 0, 1, 1, 2, 3, 4]),
        target_rank=np.array([0, 1, 0, 1, 0, 0, 0], np.int8),
        class_index=np.array([5, 5, 5, 6, 5, 5, 5], np.int32),
    )
    found = Components(CAM, 32)(batch)
    alone = [Components(CAM, 32)({name: column[i : i + 1] for name, column in batch.items()}) for i in range(7)]
    np.testing.assert_array_equal(found["box"], np.concatenate([one["box"] for one in alone]))
    for row, one in enumerate(alone):
        np.testing.assert_array_equal(found["sweep_box"][row], one["sweep_box"][0])


def test_an_empty_batch_stays_empty() -> None:
    batch = {name: column[:0] for name, column in rows([np.ones((2, 2))], 8).items()}
    assert Components(CAM, 8)(batch)["box"].shape == (0, 4)


@pytest.mark.parametrize(
    ("component", "box"),
    [
        ("largest_pixels", [4, 4, 9, 9]),
        ("largest_rectangle", [0, 0, 12, 3]),
        ("peak", [10, 10, 12, 12]),
        ("all", [0, 0, 12, 12]),
    ],
)
def test_each_component_at_one_threshold_and_in_the_sweep(component: str, box: list[int]) -> None:
    protocol = get_protocol("cam2016", component=component)
    mask = blank(12, (0, 0, 12, 1), (0, 0, 1, 3), (4, 4, 9, 9), (10, 10, 12, 12))
    values = mask * np.float32(0.9)
    values[10, 10] = 1
    values[0, 0] = 0.95
    found = Components(protocol, 12)(rows([values], 12, protocol))
    assert found["box"].tolist() == [[2 * box[0], box[1], 2 * box[2], box[3]]]
    assert (found["sweep_box"][0][:90] == found["box"][0]).all()
