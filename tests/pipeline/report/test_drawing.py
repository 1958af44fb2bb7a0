"""What is drawn over a photograph lies where it should."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.report.drawing import ESTIMATE, TRUTH, explained
from stages.boxes.protocols import get_protocol
from stages.ingest.geometry import fit_transform

SIZE, WIDTH, HEIGHT = 32, 400, 200
NOTHING = np.zeros(4)


def drawn(map: np.ndarray, estimate: np.ndarray = NOTHING, truth: tuple = ()) -> np.ndarray:
    photo = Image.new("RGB", (WIDTH, HEIGHT), (10, 20, 30))
    transform = fit_transform(WIDTH, HEIGHT, SIZE, "squash", 1.0)
    picture = explained(photo, map.astype(np.float32), get_protocol("cam2016"), SIZE, transform, estimate, truth)
    assert picture.mode == "RGB" and picture.size == (WIDTH, HEIGHT)
    return np.asarray(picture).astype(int)


def extent(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Half-open extent of the pixels of that colour."""
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_boxes_have_their_colours_and_edges():
    estimate, truth = np.array([100.4, 20, 400, 200], np.float32), np.array([30, 40, 90, 120], np.float32)
    pixels = drawn(np.zeros((4, 4)), estimate, (truth, NOTHING))
    assert extent(pixels, ESTIMATE) == (100, 20, 400, 200)
    assert extent(pixels, TRUTH) == (30, 40, 90, 120)
    assert (pixels[60:80, 40:80] == (10, 20, 30)).all(), "boxes are not filled"


@pytest.mark.parametrize("map", [np.zeros((4, 4)), np.full((4, 4), np.nan)], ids=["empty", "not finite"])
def test_a_map_without_foreground_leaves_the_photograph(map):
    assert (drawn(map) == (10, 20, 30)).all()


def test_heat_lies_where_the_map_is_hot_and_is_outlined_at_the_threshold():
    map = np.zeros((8, 8))
    map[:, 6:] = 1
    pixels = drawn(map)
    assert (pixels[:, :200] == (10, 20, 30)).all()
    assert (pixels[:, 350:].sum(-1) > 300).all()
    bright = (pixels.min(-1) > 200) & (np.arange(WIDTH) < 320)
    assert bright.any(1).all() and 240 < np.nonzero(bright)[1].min() < 320


def test_the_colours_are_those_of_the_page():
    from importlib.resources import files

    style = files("pipeline.report").joinpath("style.css").read_text()
    for name, colour in (("truth", TRUTH), ("estimate", ESTIMATE)):
        assert f"--{name}: #{bytes(colour).hex()};" in style
