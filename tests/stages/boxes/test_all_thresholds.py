"""Largest components, of one mask or of all thresholds at once, equal plain labelling with exact ties."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.boxes.all_thresholds import sweep_boxes, sweep_contours
from stages.boxes.components import contour_boxes
from stages.boxes.largest import largest_pixels
from stages.boxes.protocols import get_protocol
from stages.boxes.threshold import heat


def flooded(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """Box of the largest component by flood fill, the first in raster order among equals."""
    reach = 1 if connectivity == 4 else 2
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    best: list = []
    for seed in sorted(left):
        if seed not in left:
            continue
        left.discard(seed)
        member, queue = [seed], [seed]
        while queue:
            y, x = queue.pop()
            for dy, dx in product((-1, 0, 1), repeat=2):
                near = (y + dy, x + dx)
                if near in left and dy * dy + dx * dx <= reach:
                    left.discard(near)
                    member.append(near)
                    queue.append(near)
        if len(member) > len(best):
            best = member
    if not best:
        return np.zeros(4)
    low, high = np.min(best, axis=0), np.max(best, axis=0) + 1
    return np.array([low[1], low[0], high[1], high[0]])


def labelled(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """The same by OpenCV's labels, whose order among equals is its own."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return np.zeros(4)
    largest = np.flatnonzero(areas == areas.max()) + 1
    x, y, width, height = stats[labels.ravel()[np.isin(labels, largest).argmax()], :4]
    return np.array([x, y, x + width, y + height])


def per_threshold(values: np.ndarray, thresholds: np.ndarray, connectivity: int) -> np.ndarray:
    boxes = [largest_pixels(values > threshold, connectivity) for threshold in thresholds]
    return np.array([np.zeros(4) if box is None else box for box in boxes])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    levels=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)),
    connectivity=st.sampled_from([4, 8]),
)
def test_ties_and_shapes_agree_with_a_flood_fill(levels: np.ndarray, connectivity: int) -> None:
    thresholds = np.array([0, 1, 2, 3, 4], np.float32) / 5
    values = levels.astype(np.float32) / 5
    expected = [flooded(values > threshold, connectivity) for threshold in thresholds]
    np.testing.assert_array_equal(sweep_boxes(values, thresholds, connectivity), expected)
    np.testing.assert_array_equal(per_threshold(values, thresholds, connectivity), expected)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("side", [7, 14])
def test_agrees_with_opencv_on_resized_maps(side: int, connectivity: int) -> None:
    protocol = get_protocol("cam2016")
    thresholds = protocol.cutoffs(protocol.sweep_thresholds())
    for seed in range(3):
        map = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float16)
        values = heat(map, protocol, 96)
        expected = [labelled(values > threshold, connectivity) for threshold in thresholds]
        np.testing.assert_array_equal(sweep_boxes(values, thresholds, connectivity), expected)
        np.testing.assert_array_equal(per_threshold(values, thresholds, connectivity), expected)


def test_uneven_thresholds_and_one_threshold() -> None:
    values = np.random.default_rng(1).random((20, 30), np.float32)
    for thresholds in (np.array([0.01, 0.4, 0.41, 0.9]), np.array([0.5])):
        cutoffs = thresholds.astype(np.float32)
        np.testing.assert_array_equal(sweep_boxes(values, thresholds, 8), per_threshold(values, cutoffs, 8))


def test_values_on_an_uneven_threshold_are_background() -> None:
    thresholds = np.array([0, 0.75, 0.875, 1], np.float32)
    boxes = sweep_boxes(thresholds[None], thresholds, 8)
    assert boxes[:, 0].tolist() == [1, 2, 3, 0] and not boxes[3].any()


def test_values_on_a_threshold_are_background() -> None:
    thresholds = np.arange(0, 1, 0.01)
    values = thresholds.astype(np.float32)[None]
    boxes = sweep_boxes(values, thresholds, 8)
    assert boxes[:-1, 0].tolist() == list(range(1, 100))
    assert not boxes[-1].any()


def chosen_by_labels(values: np.ndarray, threshold: float, connectivity: int, component: str) -> np.ndarray:
    """The box of the component that a rule names, from OpenCV's labels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (values > threshold).astype(np.uint8), connectivity=connectivity
    )
    if count == 1:
        return np.zeros(4)
    if component == "all":
        rows, columns = np.nonzero(labels)
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    areas = stats[1:, 2] * stats[1:, 3]
    largest = np.flatnonzero(areas == areas.max()) + 1
    x, y, width, height = stats[labels.ravel()[np.isin(labels, largest).argmax()], :4]
    if component == "peak":
        x, y, width, height = stats[labels.flat[values.argmax()], :4]
    return np.array([x, y, x + width, y + height])


MAPS = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(levels=MAPS, connectivity=st.sampled_from([4, 8]))
def test_all_thresholds_at_once_equal_a_loop_over_opencv(levels: np.ndarray, connectivity: int) -> None:
    values, thresholds = levels.astype(np.float32), np.arange(5, dtype=np.float32) + 0.5
    for component in ("largest_pixels", "largest_rectangle", "all", "peak"):
        reference = labelled if component == "largest_pixels" else None
        expected = [
            reference(values > threshold, connectivity)
            if reference
            else chosen_by_labels(values, threshold, connectivity, component)
            for threshold in thresholds
        ]
        np.testing.assert_array_equal(sweep_boxes(values, thresholds, connectivity, component), expected)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(levels=MAPS)
def test_contours_of_all_thresholds_equal_opencvs(levels: np.ndarray) -> None:
    """The boxes of all contours, and which of them OpenCV's first largest polygon is, ties included."""
    values, thresholds = levels.astype(np.float32), np.arange(5, dtype=np.float32) + 0.5
    chosen, found = sweep_boxes(values, thresholds, 8, "largest_contour"), sweep_contours(values, thresholds)
    assert (np.diff(found[:, 0]) >= 0).all()
    for index, threshold in enumerate(thresholds):
        expected = contour_boxes(values > threshold)
        assert chosen[index].tolist() == (expected[0].tolist() if len(expected) else [0, 0, 0, 0])
        assert sorted(found[found[:, 0] == index, 1:].tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("side", [7, 14])
def test_contours_of_resized_maps_equal_opencvs(side: int) -> None:
    protocol = get_protocol("choe2020")
    cutoffs = protocol.cutoffs(protocol.sweep_thresholds())
    for seed in range(2):
        values = heat(np.random.default_rng(seed).normal(size=(side, side)).astype(np.float16), protocol, 224)
        chosen, found = sweep_boxes(values, cutoffs, 8, "largest_contour"), sweep_contours(values, cutoffs)
        for index, cutoff in enumerate(cutoffs):
            expected = contour_boxes(values > cutoff)
            assert chosen[index].tolist() == (expected[0].tolist() if len(expected) else [0, 0, 0, 0])
            assert sorted(found[found[:, 0] == index, 1:].tolist()) == sorted(expected.tolist())
