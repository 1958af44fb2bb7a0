"""Small files that become gigabytes, decoded as workers do: no more memory than the limit of bytes allows."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.stages.ingest.bombs import icon, png, scans, turned

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIDE = 9_459
"""That of the largest square image."""
DECODE = r"""
import re, sys
import numpy as np
from stages.ingest.decode import Decode
stage = Decode(224, "squash", "bilinear", 1.0, (0, 0, 0))
stage.setup()
columns = {"image_id": np.arange(1), "uri": np.array(sys.argv[1:], object)}
answer = stage(columns | {"width": np.zeros(1, np.int32), "height": np.zeros(1, np.int32)})
print(answer.errors[0].code if answer.errors else "")
print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


def float_tiff(*shape: int) -> bytes:
    """Zeros, packed."""
    return cv2.imencode(".tif", np.zeros(shape, np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 8])[1].tobytes()


def grey_float() -> bytes:
    """Zeros, as Pillow packs them."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((SIDE, SIDE), np.float32)).save(buffer, "TIFF", compression="tiff_deflate")
    return buffer.getvalue()


BOMBS = {
    "turned": (lambda: png(SIDE, SIDE, extra=turned(6), real=True), ""),
    "transparent": (lambda: png(SIDE, SIDE, 8, 6, real=True), ""),
    "grey float": (grey_float, ""),
    "colour 16": (lambda: png(SIDE, SIDE, 16, 2, real=True), "TooManyPixels"),
    "colour float": (lambda: float_tiff(5_500, 5_500, 3), "TooManyPixels"),
    "colour float, as large as may be": (lambda: float_tiff(5_400, 5_400, 3), ""),
    "colour 16, as large as may be": (lambda: png(7_700, 7_700, 16, 2, real=True), ""),
    "icon": (lambda: icon(png(13_304, 13_304)), "TooManyPixels"),
    "scans": (lambda: scans(1_000, 3_000), "TooManyScans"),
    "scans, as many as may be": (lambda: scans(100, 3_000), ""),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_at_most_a_gigabyte_and_a_quarter(tmp_path: Path, name: str) -> None:
    make, expected = BOMBS[name]
    path = tmp_path / "a.png"
    path.write_bytes(make())
    assert path.stat().st_size < 3_000_000
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", DECODE, path], capture_output=True, text=True, check=True)
    code, peak = done.stdout.split("\n")[:2]
    print(f"{name}: {peak} MiB, {time.monotonic() - started:.1f} s")
    assert code == expected
    assert int(peak) < (150 if expected else 1_250)
    assert time.monotonic() - started < 60
