"""Broken and hostile files in one folder: one row each, with the right code, and the good ones as if alone."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.commands.run import run
from tests.runs import values

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OK = ""
"""The code of a file that is strange but an image."""


def picture(size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *extra: bytes, colour: int = 2) -> bytes:
    """A PNG by hand: the size that its header claims need not be that of its data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded("JPEG", exif=exif)


def swapped(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def animated(format: str) -> bytes:
    return encoded(format, save_all=True, append_images=[picture((40, 30)).rotate(90)])


def deep(dtype: type, format: str) -> bytes:
    values = np.linspace(0, 60_000 if dtype is not np.float32 else 1, 1200).reshape(30, 40).astype(dtype)
    return encoded(format, Image.fromarray(values))


def _files() -> dict[str, tuple[bytes, str | set[str]]]:
    """Content and code by name; a set where libraries may differ in what they call it."""
    cut = {"Truncated", "Unreadable"}
    bad = {"NotAnImage", *cut}
    jpeg, whole = encoded("JPEG"), encoded("PNG")
    zeros = zlib.compress(bytes(3 * 40 * 30 + 30))
    found: dict[str, tuple[bytes, str | set[str]]] = {
        # Nothing, or something else.
        "empty.jpg": (b"", "Empty"),
        "one-byte.jpg": (b"\xff", "NotAnImage"),
        "zeros.png": (bytes(5000), "NotAnImage"),
        "noise.jpg": (np.random.default_rng(0).bytes(5000), "NotAnImage"),
        "page.jpg": (b"<!doctype html><title>404</title>", "NotAnImage"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "NotAnImage"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "NotAnImage"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "NotAnImage"),
        "document.png": (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", "NotAnImage"),
        "archive.jpg": (b"PK\x03\x04" + bytes(200), "NotAnImage"),
        "packed.png": (b"\x1f\x8b\x08\0" + bytes(200), "NotAnImage"),
        "pickle.jpg": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0atouch ran-x\x85R.", "NotAnImage"),
        "film.gif": (b"\0\0\0\x18ftypmp42" + bytes(100), bad),
        # Cut off or damaged.
        "cut-header.jpg": (jpeg[:15], cut),
        "cut-half.jpg": (jpeg[: len(jpeg) // 2], cut),
        "cut-end.jpg": (jpeg[:-40], cut),
        "cut-header.png": (whole[:20], cut),
        "cut-half.png": (whole[: len(whole) // 2], cut),
        "cut.gif": (encoded("GIF")[:400], cut),
        "cut.bmp": (encoded("BMP")[:400], cut),
        "cut.tif": (encoded("TIFF")[:400], cut),
        "cut.webp": (encoded("WEBP")[:400], cut),
        "cut.ppm": (encoded("PPM")[:400], cut),
        "damaged.png": (swapped(whole, 60, bytes(40)), cut),
        "damaged-header.png": (swapped(whole, 18, b"\xff"), {*cut, "TooManyPixels"}),
        "markers.jpg": (b"\xff\xd8" + b"\xff\xe1\0\2" * 3000 + b"\xff\xd9", cut),
        "no-pixels.png": (png(0, 0, zlib.compress(b"")), bad),
        "too-little.png": (png(400, 300, zeros), cut),
        "loop.tif": (b"II*\0\x08\0\0\0" + b"\0\0" + struct.pack("<I", 8), bad),
        # Bombs: pixels, text, profiles.
        "bomb.png": (png(50_000, 50_000, zlib.compress(bytes(10_000_000))), "TooManyPixels"),
        "bomb-wide.png": (png(2**31 - 1, 1, zeros), "TooManyPixels"),
        "bomb.bmp": (swapped(encoded("BMP"), 18, struct.pack("<II", 60_000, 60_000)), "TooManyPixels"),
        "bomb.gif": (swapped(encoded("GIF"), 6, b"\xff\xff\xff\xff"), "TooManyPixels"),
        "bomb.ppm": (b"P6\n90000 90000\n255\n" + bytes(100), "TooManyPixels"),
        "bomb-text.png": (
            png(40, 30, zeros, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))),
            {OK, "Unreadable"},
        ),
        "bomb-profile.png": (
            png(40, 30, zeros, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80_000_000)))),
            {OK, "Unreadable"},
        ),
        # Strange, but images.
        "wrong-extension.png": (jpeg, OK),
        "wrong-extension.jpg": (encoded("WEBP", lossless=True), OK),
        "cmyk.jpg": (encoded("JPEG", picture().convert("CMYK")), OK),
        "cmyk.tif": (encoded("TIFF", picture().convert("CMYK")), OK),
        "grey.jpg": (encoded("JPEG", picture().convert("L")), OK),
        "grey-alpha.png": (encoded("PNG", picture().convert("LA")), OK),
        "one-bit.png": (encoded("PNG", picture().convert("1")), OK),
        "palette.png": (encoded("PNG", picture().convert("P")), OK),
        "alpha.png": (encoded("PNG", picture().convert("RGBA")), OK),
        "deep-16.png": (deep(np.uint16, "PNG"), OK),
        "deep-32.tif": (deep(np.int32, "TIFF"), OK),
        "deep-float.tif": (deep(np.float32, "TIFF"), OK),
        "animated.gif": (animated("GIF"), OK),
        "animated.webp": (animated("WEBP"), OK),
        "pages.tif": (animated("TIFF"), OK),
        "progressive.jpg": (encoded("JPEG", progressive=True), OK),
        "trailing.jpg": (jpeg + b"<?php system('id'); ?>" * 50, OK),
        "turned.jpg": (with_exif(6), OK),
        "mirrored.jpg": (with_exif(5), OK),
        "orientation-99.jpg": (with_exif(99), OK),
        "broken-exif.jpg": (encoded("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), OK),
        "broken-profile.jpg": (encoded("JPEG", icc_profile=b"no profile"), OK),
        "one-pixel.png": (encoded("PNG", picture((1, 1))), OK),
        "needle.png": (encoded("PNG", picture((20_000, 1))), OK),
        "tower.png": (encoded("PNG", picture((1, 20_000))), OK),
    }
    names = (
        *("line\nbreak.png", "tab\t.png", "quote'\".png", "<script>alert(1)<img>.png"),
        *("rtl-\u202egnp.exe.png", "=cmd|' ' !A0.png", "-rf.png", "%2e%2e%2f.png", "a?b#c&d.png", "{{7*7}}.png"),
        *("${HOME}`id`.png", "\x1b[31mred.png", "x" * 251 + ".png", "e\u0301 ohne, \u00e9 mit.png", "s3:.png"),
    )
    return found | {name: (encoded("PNG", picture((30 + i, 20))), OK) for i, name in enumerate(names)}


FILES = _files()
SPECIAL = {
    "pipe.jpg": "Unreadable",
    "device.jpg": "Unreadable",
    "self.jpg": "Unreadable",
    "dangling.jpg": "Missing",
    "linked.png": OK,
}


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    """Folder of the images and run directory."""
    root = tmp_path_factory.mktemp("broken") / "data"
    root.mkdir()
    for name, (content, _) in FILES.items():
        (root / name).write_bytes(content)
    (root.parent / "beside.png").write_bytes(encoded("PNG"))
    os.mkfifo(root / "pipe.jpg")
    (root / "device.jpg").symlink_to("/dev/zero")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "dangling.jpg").symlink_to("nowhere.jpg")
    (root / "linked.png").symlink_to("../beside.png")
    out = root.parent / "run"
    run(tiny("data.format=imagefolder", f"data.root={root}", "runtime.shard_size=16"), out)
    return root, out


def rows(out: Path, kind: str) -> list[dict]:
    return [row for path in sorted((out / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def by_name(out: Path) -> dict[int, str]:
    return {row["image_id"]: row["file_name"] for row in pq.read_table(out / "manifest.parquet").to_pylist()}


def test_there_are_sixty():
    assert len(FILES) + len(SPECIAL) >= 60


def test_each_file_is_one_row_with_the_right_code(ran):
    out = ran[1]
    names = by_name(out)
    assert set(names.values()) == {*FILES, *SPECIAL}
    failed = rows(out, "errors")
    found = {names[row["image_id"]]: row["error_code"] for row in failed}
    assert len(found) == len(failed)
    assert not {row["image_id"] for row in failed} & {row["image_id"] for row in rows(out, "predictions")}
    expected = {name: code for name, (_, code) in FILES.items()} | SPECIAL
    wrong = {
        name: (found.get(name, OK), code)
        for name, code in expected.items()
        if found.get(name, OK) not in (code if isinstance(code, set) else {code})
    }
    assert wrong == {}
    predicted = {names[row["image_id"]] for row in rows(out, "predictions")}
    assert predicted == set(expected) - set(found)
    for row in failed:
        assert row["message"] and row["message"].isprintable() and row["stage"] == "decode" and row["attempts"] == 1


def test_it_makes_no_difference_to_the_good_ones_what_is_wrong_with_the_others(ran, tiny, tmp_path):
    root, out = ran
    names = by_name(out)
    predicted = {names[row["image_id"]] for row in rows(out, "predictions")}
    beside = tmp_path / "data"
    beside.mkdir()
    for name in names.values():
        (beside / name).write_bytes((root / name).read_bytes() if name in predicted else b"")
    run(tiny("data.format=imagefolder", f"data.root={beside}", "runtime.shard_size=16"), tmp_path / "run")
    parts = sorted((out / "predictions").iterdir())
    assert [values(part.read_bytes()) for part in parts] == [
        values((tmp_path / "run" / "predictions" / part.name).read_bytes()) for part in parts
    ]


def test_the_good_ones_are_as_if_they_were_alone(ran, tiny, tmp_path):
    """But for the last bits: they are in batches of other sizes then, and sums are taken in another order."""
    root, out = ran
    names = by_name(out)
    alone = tmp_path / "data"
    alone.mkdir()
    for name in {names[row["image_id"]] for row in rows(out, "predictions")}:
        (alone / name).write_bytes((root / name).read_bytes())
    run(tiny("data.format=imagefolder", f"data.root={alone}", "runtime.shard_size=16"), tmp_path / "run")
    found, expected = results(out), results(tmp_path / "run")
    assert found.keys() == expected.keys()
    for key, row in found.items():
        np.testing.assert_allclose(row.pop("map"), expected[key].pop("map"), atol=1e-3)  # float16 of at most 1
        for name in ("prob", "map_scale"):
            np.testing.assert_allclose(row.pop(name), expected[key].pop(name), rtol=1e-5)
        quality, other = row.pop("quality"), expected[key].pop("quality")  # of the float16 map
        assert (quality is None) == (other is None)
        np.testing.assert_allclose(np.float64(quality), np.float64(other), atol=1e-3)
        np.testing.assert_allclose(row.pop("box"), expected[key].pop("box"), atol=1)
        assert row == expected[key]


def results(out: Path) -> dict[tuple[str, str, int], dict]:
    """Rows of the predictions by file, method and rank."""
    names = by_name(out)
    found = ((names[row.pop("image_id")], row) for row in rows(out, "predictions"))
    return {(name, row["method"], row["target_rank"]): row for name, row in found}


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)


def test_names_are_data_in_every_file_that_the_run_wrote(ran):
    root, out = ran
    names = set(by_name(out).values())
    for name in ("ground_truth.json", "predictions.json"):
        json.loads((out / "coco" / name).read_text(encoding="utf-8"))
    images = json.loads((out / "coco" / "ground_truth.json").read_text(encoding="utf-8"))["images"]
    assert {image["file_name"] for image in images} == names
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "script" not in Tags(page).tags and "{{7*7}}" not in page.replace("{{7*7}}.png", "")
    assert not list(root.rglob("ran*")) and not Path("ran-x").exists()
