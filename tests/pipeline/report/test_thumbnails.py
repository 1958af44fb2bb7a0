"""The layer of heat lies where the network looked."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.report import thumbnails
from stages.ingest.geometry import fit_transform

SIZE = 32


def pixels(uri: str) -> np.ndarray:
    """(h, w, 4) RGBA of a data URI."""
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(BytesIO(data)).convert("RGBA")).astype(int)


def layer(heat: np.ndarray, fit: str, width: int, height: int, cutoff: float = 2.0) -> np.ndarray:
    transform = fit_transform(width, height, SIZE, fit, 1.0)
    return pixels(thumbnails.overlay(heat.astype(np.float32), cutoff, transform, width, height))


def test_a_squashed_map_is_stretched_over_the_whole_image():
    heat = np.zeros((SIZE, SIZE))
    heat[:, SIZE // 2 :] = 1
    alpha = layer(heat, "squash", 400, 200)[..., 3]
    assert alpha.shape == (112, 224)
    assert (alpha[:, :108] == 0).all() and (alpha[:, 116:] > 150).all()


@pytest.mark.parametrize(("width", "height"), [(400, 200), (200, 400)])
def test_only_what_a_centre_crop_saw_is_coloured(width, height):
    alpha = layer(np.ones((SIZE, SIZE)), "center_crop", width, height)[..., 3]
    alpha = alpha if width > height else alpha.T
    assert (alpha[:, :55] == 0).all() and (alpha[:, 169:] == 0).all()
    assert (alpha[:, 57:167] > 150).all()


def test_a_letterbox_leaves_its_bars_out():
    heat = np.zeros((SIZE, SIZE))
    heat[SIZE // 2, :] = 1  # within the image, which covers the rows 8 to 24
    heat[:8] = 1  # the bar above
    alpha = layer(heat, "letterbox", 400, 200)[..., 3]
    assert alpha[60].min() > 100 and alpha[20:40].max() == 0 and alpha[80:].max() == 0


def test_the_threshold_has_a_white_outline():
    heat = np.zeros((SIZE, SIZE))
    heat[8:24, 8:24] = 1
    image = layer(heat, "squash", 224, 224, cutoff=0.5)
    white = (image[..., :3] == 255).all(-1) & (image[..., 3] > 200)
    rows, columns = np.nonzero(white)
    assert (abs(rows.min() - 56) <= 1, abs(rows.max() - 167) <= 1) == (True, True)
    assert (abs(columns.min() - 56) <= 1, abs(columns.max() - 167) <= 1) == (True, True)
    assert not white[70:150, 70:150].any()


def test_hotter_is_brighter_and_more_opaque():
    ramp = np.tile(np.linspace(0, 1, SIZE), (SIZE, 1))
    row = layer(ramp, "squash", 224, 224)[100]
    brightness = row[:, :3].sum(-1)
    assert (np.diff(row[:, 3]) >= 0).all() and row[0, 3] == 0
    assert (np.diff(brightness) >= 0).mean() > 0.98 and brightness[-1] > 600


def test_photographs_become_small():
    photo = pixels(thumbnails.photo(Image.new("RGB", (2000, 1000), (200, 30, 30))))
    assert photo.shape == (112, 224, 4)
    assert np.abs(photo[..., :3].mean((0, 1)) - (200, 30, 30)).max() < 4
    assert pixels(thumbnails.photo(Image.new("RGB", (20000, 1)))).shape == (1, 224, 4)
