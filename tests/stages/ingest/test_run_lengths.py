"""Run lengths against masks that were drawn pixel by pixel, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle

from stages.ingest.run_lengths import decode, encode, encode_segmentation


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_masks_come_back_whatever_their_form(width: int, height: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=width * height, max_size=width * height))
    mask = np.array(bits).reshape(height, width)
    runs, value = [], False  # COCO's runs go down the columns and begin with background
    for one in mask.T.reshape(-1):
        if one == value and runs:
            runs[-1] += 1
        else:
            runs += [0, 1] if one and not runs else [1]
            value = one
    for counts in (runs, encode(mask).decode()):
        stored = encode_segmentation({"size": [height, width], "counts": counts}, width, height)
        np.testing.assert_array_equal(decode([stored], width, height), mask)


def test_polygons_and_unions() -> None:
    box, other = [1, 2, 5, 2, 5, 4, 1, 4], [6, 0, 8, 0, 8, 2, 6, 2]
    expected = np.zeros((6, 9), bool)
    expected[2:4, 1:5] = True
    expected[0:2, 6:8] = True
    np.testing.assert_array_equal(decode([encode_segmentation([box, other], 9, 6)], 9, 6), expected)
    parts = [encode_segmentation([one], 9, 6) for one in (box, other)]
    np.testing.assert_array_equal(decode(parts, 9, 6), expected)


LARGER = rle.encode(np.ones((9, 9), np.uint8, order="F"))["counts"].decode()


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ([[1, 2, 3, 4]], "not a list of polygons"),
        ([[1, 2, 3, 4, 5]], "not a list of polygons"),
        ([[1, 2, 3, 4, 5, float("nan")]], "not a list of polygons"),
        ("abc", "not a list of polygons"),
        ({"size": [5, 4], "counts": [20]}, r"size \[5, 4\], its image \[4, 5\]"),
        ({"size": [4, 5], "counts": [19]}, "do not add up"),
        ({"size": [4, 5], "counts": [25, -5]}, "do not add up"),
        ({"size": [4, 5], "counts": 7}, "no counts"),
        ({"size": [4, 5]}, "no counts"),
        (
            {"size": [4, 5], "counts": LARGER},
            "do not give",
        ),
        ({"size": [4, 5], "counts": "é"}, "do not give"),
    ],
)
def test_broken_segmentations_are_told(segmentation: object, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        encode_segmentation(segmentation, 5, 4)


@pytest.mark.parametrize("counts", ["o", "5oooooooo0", "52203o", "\x7f", "/", "", "0" * 99], ids=repr)
def test_a_string_that_is_none_never_reaches_native_code(counts: str) -> None:
    with pytest.raises(ValueError, match="do not give the pixels"):
        encode_segmentation({"size": [4, 4], "counts": counts}, 4, 4)
    with pytest.raises(ValueError, match=r"number|characters|add up"):
        decode([counts.encode()], 4, 4)


def test_distant_points_cost_nothing_and_cover_what_they_cover() -> None:
    for far in (1e4, 1e9, 1e299, 10**200, -(10**30)):
        low, high = sorted((far, -far))
        everything = encode_segmentation([[low, low, high, low, high, high, low, high]], 6, 4)
        assert decode([everything], 6, 4).all()
    for number in (float("inf"), 10**400):
        with pytest.raises(ValueError, match="not a list of polygons"):
            encode_segmentation([[0, 0, number, 0, 5, 5]], 6, 4)


def test_a_mask_of_a_size_that_no_image_has_is_refused() -> None:
    with pytest.raises(ValueError, match="more than the"):
        encode_segmentation({"size": [10**9, 10**9], "counts": [10**18]}, 10**9, 10**9)


@pytest.mark.slow
def test_mutated_strings_are_refused_or_are_masks_of_their_size() -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for number in range(100_000):
        height, width = rng.integers(1, 24, 2).tolist()
        text = bytearray(encode(rng.random((height, width)) < rng.random()))
        for _ in range(number % 4):
            at = int(rng.integers(0, len(text) + 1))
            kind = rng.integers(0, 3)
            if kind == 0:
                text[at:at] = bytes(rng.integers(40, 120, 1).tolist())
            elif kind == 1:
                del text[at : at + 1]
            else:
                text[at : at + 1] = bytes(rng.integers(40, 120, 1).tolist())
        try:
            stored = encode_segmentation({"size": [height, width], "counts": text.decode()}, width, height)
        except ValueError:
            continue
        kept += 1
        assert decode([stored], width, height).shape == (height, width)
    assert 25_000 < kept < 90_000
