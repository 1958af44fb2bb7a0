"""Thumbnails are made where a crash costs the picture alone."""

from __future__ import annotations

import base64
import os
import signal
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.report import gallery
from stages.errors import UserError
from stages.ingest.children import each

DEEP = {"every": [0.0, 1000.0]}


def dies(uri: str, levels: object) -> None:
    """A picture whose decoder crashes."""
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_picture_its_levels_and_a_file_that_is_none(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 20), 500, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("no picture")
    uris = [str(tmp_path / name) for name in ("deep.png", "text.png", "gone.png")]
    deep, text, gone = each("pipeline.report.photograph:photograph", uris, DEEP)
    assert deep[1:] == [None, 20, 10]
    with Image.open(BytesIO(base64.b64decode(deep[0].partition(",")[2]))) as image:
        assert image.size == (224, 112) and abs(np.asarray(image).mean() - 127.5) < 3
    assert text == [None, "the bytes are in no image format that Pillow knows", 0, 0]
    assert gone == [None, "the image is no longer there", 0, 0]


def test_a_picture_that_ends_its_process_leaves_its_place(monkeypatch) -> None:
    monkeypatch.setattr(gallery, "_PHOTOGRAPH", f"{__name__}:dies")
    (photo,) = gallery._photos(["/a.png"], {})
    assert photo == (None, "the image ends or blocks its reader", 0, 0)


def refuses(uri: str, levels: object) -> None:
    """A picture for which a package is missing."""
    raise UserError("install it")


def test_pictures_that_nobody_can_read_leave_the_page(monkeypatch) -> None:
    monkeypatch.setattr(gallery, "_PHOTOGRAPH", f"{__name__}:refuses")
    assert list(gallery._photos(["/a.png", "/b.png"], {})) == 2 * [(None, "the image cannot be read (UserError)", 0, 0)]
