"""Headers: what they say is what decoding gives, and reading them takes no more of a file than they have."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image

from stages.ingest import header
from stages.ingest.decode import decode
from stages.ingest.header import header_at, read_header, seems_an_image
from stages.ingest.tar import tar_members
from tests.stages.formats.ilsvrc import write_tar
from tests.stages.ingest.bombs import chunk, icon, png, turned

SURVEY = r"""
import re, resource, sys
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes
from stages.ingest.depth import find_levels
def peak(): return int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1])
before = peak()
records = fill_sizes(Dataset([], [ImageRecord(at, uri, uri) for at, uri in enumerate(sys.argv[1:])], [])).records
print([(one.width, one.height) for one in records], find_levels(records))
from stages.ingest.children import _end_all
_end_all()
print(peak() - before < 30_000, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 200_000)
"""


def test_bombs_cost_the_driver_nothing_and_their_reader_little(put) -> None:
    files = {
        **{f"sparse{number}.jpg": (b"", (0, 0)) for number in range(3)},
        "sparse.png": (png(30, 20)[:33], (0, 0)),
        "turned.png": (png(9_459, 9_459, extra=turned(6)), (9_459, 9_459)),
        "icon.png": (icon(png(13_304, 13_304)), (13_304, 13_304)),
        "deep.png": (png(9_459, 9_459, 16, extra=turned(8)), (9_459, 9_459)),
    }
    paths = [put(name, content) for name, (content, _) in files.items()]
    for path in paths[:4]:
        os.truncate(path, 2 * 10**9)
    done = subprocess.run([sys.executable, "-c", SURVEY, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{[size for _, size in files.values()]} ({{}}, [])", "True True"]


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("place", ["before", "after", "xmp before", "xmp after", "text after"])
def test_a_png_is_turned_by_what_stands_before_or_after_its_pixels(encode, put, place: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = exif.tobytes()
    mark = turned(orientation)
    if "xmp" in place:
        xmp = f'<x tiff:Orientation="{orientation}"/>'.encode()
        mark = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    elif "text" in place:
        mark = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n" % len(raw) + raw.hex().encode())
    for noise in ((30, 20), (300, 400)):  # Of the latter, the pixels alone have more than is read first.
        plain = encode("PNG", Image.effect_noise(noise, 90))
        at = 33 if "before" in place else len(plain) - 12
        data = plain[:at] + mark + plain[at:]
        found = header_at(str(put("a.png", data)))
        assert found is not None and found == read_header(BytesIO(data))
        assert found.displayed == decode(data).size == (noise if orientation == 3 else noise[::-1])
        assert found.stored == noise and found.orientation == orientation


def test_the_rest_of_a_long_header_is_read(encode, tmp_path, put) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = os.urandom(200_000)
    files = {
        "a.jpg": encode("JPEG", icc_profile=profile, exif=exif),
        "b.tif": encode("TIFF", Image.effect_noise((300, 400), 90), exif=exif),
        "c.webp": encode("WEBP", Image.effect_noise((400, 500), 99).convert("RGB"), lossless=True, exif=exif),
    }
    write_tar(tmp_path / "plain.tar", files)
    write_tar(tmp_path / "packed.tgz", files, "w:gz")
    for name, data in files.items():
        assert len(data) > 1 << 16
        found = header_at(str(put(name, data)))
        assert found is not None and found.displayed == decode(data).size and found.orientation == 6
        for archive in ("plain.tar", "packed.tgz"):
            assert header_at(tar_members(str(tmp_path / archive))[0][name]) == found


def test_a_header_has_an_end(put, encode, monkeypatch) -> None:
    path = str(put("a.jpg", encode("JPEG", icc_profile=os.urandom(200_000))))
    monkeypatch.setattr(header, "_MOST", 1 << 17)
    assert header_at(path) is None
    large = chunk(b"eXIf", bytes(1 << 18))
    data = png(30, 20, real=True)
    assert header_at(str(put("b.png", data[:-12] + large + data[-12:]))) is None
    assert header_at(str(put("c.png", data[:33] + chunk(b"abCd", bytes(1 << 16)) + data[33:]))) is not None


def test_what_seems_an_image(put, encode, tmp_path) -> None:
    assert seems_an_image(str(put("a", encode("PPM")))) and seems_an_image(str(put("b", encode("JPEG")[:20])))
    assert seems_an_image(str(tmp_path / "absent"))
    assert not seems_an_image(str(put("c", b""))) and not seems_an_image(str(put("d", b"a list of images")))
