from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stages.formats import read_dataset
from stages.ingest.decode import DecodeError, decode, read_image
from stages.ingest.header import read_header
from stages.ingest.image_formats import EXTENSIONS, FORMATS

LOSSLESS = ("BMP", "DDS", "DIB", "ICO", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "QOI")
LOSSY = ("AVIF", "JPEG", "MPO", "GIF", "WEBP")
LIMIT = {"ICO": (16, 16)}


@pytest.mark.parametrize("format", [*LOSSLESS, *LOSSY])
def test_whatever_pillow_writes_is_found_and_decoded(format: str, pixels, put, encode, tmp_path) -> None:
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {format}")
    shown = Image.fromarray(pixels).resize(LIMIT.get(format, (20, 12)))
    suffix = next(suffix for suffix, name in Image.registered_extensions().items() if name == format)
    path = put(f"cat/a{suffix.upper()}", encode(format, shown))
    data = read_dataset("imagefolder", str(tmp_path))
    assert [(record.file_name, record.label) for record in data.records] == [(f"cat/a{suffix.upper()}", 0)]
    assert read_header(BytesIO(path.read_bytes())).displayed == shown.size
    off = np.abs(np.asarray(read_image(data.records[0].uri)).astype(int) - np.asarray(shown))
    assert off.max() == 0 if format in LOSSLESS else off.mean() < 20


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tga"])
@pytest.mark.parametrize("format", ["WEBP", "TIFF", "JPEG2000"])
def test_the_content_decides_not_the_extension(format: str, suffix: str, pixels, put, encode, tmp_path) -> None:
    put(f"a{suffix}", encode(format, lossless=True))
    (record,) = read_dataset("imagefolder", str(tmp_path)).records
    np.testing.assert_array_equal(np.asarray(read_image(record.uri)), pixels)


def test_what_needs_a_program_is_no_image(put, encode, tmp_path) -> None:
    assert not {"EPS", "PDF", "MPEG", "WMF", "HDF5", "GRIB", "BUFR"} & set(FORMATS)
    assert not {".eps", ".ps", ".pdf", ".mpg", ".wmf", ".emf", ".h5", ".pcd"} & EXTENSIONS
    put("a.png")
    for format, suffix in (("EPS", "eps"), ("PDF", "pdf")):
        put(f"b.{suffix}", encode(format))
    data = read_dataset("imagefolder", str(tmp_path))
    assert [record.file_name for record in data.records] == ["a.png"]
    assert data.notes == ["skipped 2 files: .eps 1, .pdf 1"]
    with pytest.raises(DecodeError, match="in no image format"):
        decode(encode("EPS"))


def test_formats_without_a_signature_are_tried_last() -> None:
    guessed = [Image.OPEN[name][1] is None for name in FORMATS]
    assert guessed == sorted(guessed) and not guessed[0] and guessed[-1]


def test_the_table_of_formats_does_not_need_them() -> None:
    code = "import sys, stages.formats.table, pipeline.shell.cli; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
