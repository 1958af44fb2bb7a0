from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from stages.errors import ConfigurationError
from stages.ingest import levels, rgb, samples
from stages.ingest.decode import Decode, DecodeError, decode, read_image
from stages.ingest.geometry import FITS
from stages.ingest.header import read_header
from stages.ingest.scans import MOST_SCANS
from stages.ingest.uris import MAX_FILE
from tests.stages.ingest.bombs import icon, png, scans
from tests.stages.ingest.deep import tiff

BLACK = (0, 0, 0)


def batch(paths: list[Path | str], width: int = 0, height: int = 0) -> dict[str, np.ndarray]:
    return {
        "image_id": np.arange(len(paths)),
        "uri": np.array([str(path) for path in paths], dtype=object),
        "width": np.full(len(paths), width, dtype=np.int32),
        "height": np.full(len(paths), height, dtype=np.int32),
    }


def code(data: bytes, **options: int) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, **options)
    assert caught.value.message and "\n" not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(encode, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(format, exif=exif)
    shown = decode(data)
    with Image.open(BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(shown, expected)
    assert read_header(BytesIO(data)) == (shown.size, (20, 12), orientation, False)
    assert shown.size == ((12, 20) if orientation > 4 else (20, 12))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("block", [b"MM\0*\0\0\0\x08\xff\xff\x01", b"no TIFF header"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_image(encode, format: str, block: bytes) -> None:
    data = encode(format, exif=b"Exif\0\0" + block)
    assert decode(data).size == read_header(BytesIO(data)).displayed == (20, 12)


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        *[
            ("1", "PNG"),
            ("L", "PNG"),
            ("L", "JPEG"),
            ("LA", "PNG"),
            ("P", "GIF"),
            ("P", "PNG"),
            ("PA", "TIFF"),
        ],
        *[("RGBA", "PNG"), ("RGBA", "WEBP"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")],
    ],
)
def test_modes_become_rgb_with_about_the_same_grey(encode, pixels, mode: str, format: str) -> None:
    grey = Image.fromarray(pixels).convert("L")
    shown = decode(encode(format, grey.convert(mode)))
    assert shown.mode == "RGB"
    assert np.asarray(shown).mean() == pytest.approx(np.asarray(grey).mean(), abs=6)


def test_lab_is_a_colour_space_not_three_channels(encode) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (4, 4), (200, 30, 60)), to_lab)
    assert np.abs(np.asarray(decode(encode("TIFF", lab))) - [200.0, 30, 60]).max() <= 4


def test_transparency_lies_over_white(encode) -> None:
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 128))
    half.putpixel((1, 0), (10, 20, 30, 0))
    assert np.asarray(decode(encode("PNG", half))).tolist() == [[[255, 127, 127], [255, 255, 255]]]
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.putpixel((0, 0), 0)
    shown = decode(encode("PNG", palette, transparency=0))
    assert np.asarray(shown).tolist() == [[[255, 255, 255], [50, 60, 70]]]
    keyed = decode(encode("PNG", Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3)))
    assert keyed.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("values", "format", "expected"),
    [
        (np.array([[0, 257, 32896, 65535]], dtype=np.uint16), "PNG", [0, 1, 128, 255]),
        (np.array([[0, 257, 32896, 65535]], dtype=np.uint16), "TIFF", [0, 1, 128, 255]),
        (np.array([[0, 257, 32896]], dtype=np.uint16), "PNG", [0, 1, 128]),
        (np.array([[0, 100_000, 200_000]], dtype=np.int32), "TIFF", [0, 128, 255]),
        (np.array([[0, 0.5, 1.0, np.nan]], dtype=np.float32), "TIFF", [0, 128, 255, 0]),
        (np.array([[-1.0, 0.0, 1.0]], dtype=np.float32), "TIFF", [0, 128, 255]),
        (np.array([[7.0, 7.0]], dtype=np.float32), "TIFF", [0, 0]),
    ],
)
def test_deep_grey_values_are_scaled(encode, values, format: str, expected: list[int]) -> None:
    shown = np.asarray(decode(encode(format, Image.fromarray(values))))
    assert shown[0, :, 0].tolist() == expected
    assert (shown == shown[..., :1]).all()


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_first_frame_of_an_animation(encode, format: str) -> None:
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(format, red, save_all=True, append_images=[blue], **options)
    assert decode(data).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_cut_off_files_never_pass(encode, format: str, share: float) -> None:
    data = encode(format, Image.effect_noise((64, 64), 90))
    assert code(data[: int(len(data) * share)]) in {"Truncated", "Unreadable"}


def test_codes(encode) -> None:
    assert code(b"") == "Empty"
    assert code(b"<html>not found</html>") == "NotAnImage"
    assert code(encode("JPEG")[:300]) == "Truncated"
    assert code(encode("JPEG")[:20]) == "Truncated"
    assert code(encode(), max_bytes=959) == "TooManyPixels"
    assert decode(encode(), max_bytes=960).size == (20, 12)
    broken = bytearray(encode())
    broken[45:60] = bytes(15)
    assert code(bytes(broken)) in {"Unreadable", "Truncated"}


def test_a_bomb_is_refused_before_its_pixels(encode) -> None:
    data = bytearray(encode("BMP"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    assert code(bytes(data)) == "TooManyPixels"


@pytest.mark.parametrize(
    ("data", "of_pixel"),
    [
        (png(30, 20, 8, 0), 4),
        (png(30, 20, 8, 2), 4),
        (png(30, 20, 8, 6), 4),
        (png(30, 20, 16, 0), 4),
        (png(30, 20, 16, 2), 6),
        (png(30, 20, 16, 4), 8),
        (png(30, 20, 16, 6), 8),
        (icon(png(30, 20)), 4),
        (tiff(np.zeros((20, 30), np.float32)), 4),
        (tiff(np.zeros((20, 30), np.float64)), 8),
        (tiff(np.zeros((20, 30, 3), np.uint16)), 6),
        (tiff(np.zeros((20, 30, 3), np.float32)), 12),
        (tiff(np.zeros((20, 30, 3), np.float64)), 24),
    ],
)
def test_the_limit_counts_the_bytes_of_what_is_decoded(data: bytes, of_pixel: int) -> None:
    needed = 30 * 20 * of_pixel
    assert code(data, max_bytes=needed - 1) == "TooManyPixels"
    with pytest.raises(DecodeError, match=f"30 x 20 pixels take {needed:,} bytes, over the limit of {needed - 1:,}"):
        decode(data, max_bytes=needed - 1)
    try:
        assert decode(data, max_bytes=needed).size == (30, 20)
    except DecodeError as error:  # Those of bombs have no pixels.
        assert error.code in ("Truncated", "Unreadable")


def test_a_tile_that_is_larger_than_its_image_counts() -> None:
    grey = np.zeros((20, 30), np.uint8)
    assert decode(tiff(grey, tile_width=32, tile_length=32)).size == (30, 20)
    assert code(tiff(grey, tile_width=40_000, tile_length=40_000)) == "TooManyPixels"


def test_an_icon_is_its_picture_whatever_its_directory_says(encode, pixels) -> None:
    for side in (0, 7, 20):
        assert np.array_equal(decode(icon(encode(), side)), pixels)
    shown = decode(encode("ICO", Image.fromarray(pixels).resize((64, 64)), bitmap_format="bmp"))
    assert np.array_equal(shown, Image.fromarray(pixels).resize((64, 64)))
    assert code(icon(png(13_304, 13_304))) == "TooManyPixels" and code(icon(b"")) != "TooManyPixels"


def test_images_are_converted_some_rows_at_a_time_with_the_same_values(monkeypatch) -> None:
    noise = np.random.default_rng(0)
    rgba = Image.fromarray(noise.integers(0, 256, (50, 70, 4), dtype=np.uint8))
    palette = rgba.convert("RGB").quantize(16)
    palette.info["transparency"] = 3
    keyed = rgba.convert("RGB")
    keyed.info["transparency"] = keyed.getpixel((3, 4))
    floats = noise.normal(size=(50, 70)).astype(np.float32)
    floats[3:9, 5] = np.nan
    colours = noise.normal(size=(50, 70, 3))
    files = [tiff(floats), tiff(colours), tiff(noise.integers(0, 2**31, (50, 70)).astype(np.int32))]

    def found() -> list[np.ndarray]:
        composed = [rgb.to_rgb(one) for one in (rgba, rgba.convert("LA"), palette, keyed)]
        return [np.asarray(one) for one in [*composed, *map(decode, files)]]

    whole = found()
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    assert np.array_equal(whole[0], expected)
    for module in (rgb, levels, samples):
        monkeypatch.setattr(module, "_BLOCK", 7 * 70)
    for one, other in zip(whole, found(), strict=True):
        assert np.array_equal(one, other)


def test_scans_have_an_end() -> None:
    assert decode(scans(MOST_SCANS)).getpixel((5, 5)) == decode(scans(11)).getpixel((5, 5))
    assert code(scans(MOST_SCANS + 1)) == "TooManyScans"
    hidden = b"\xff\xda\0\2" * 2 * MOST_SCANS
    assert decode(scans(11, preview=hidden)).size == (64, 64)
    assert code(scans(MOST_SCANS + 1, preview=hidden)) == "TooManyScans"


def test_a_file_larger_than_any_image_is_not_read(put) -> None:
    path = put("a.jpg")
    os.truncate(path, MAX_FILE + 1)
    with pytest.raises(DecodeError, match="a file of 1,073,741,825 bytes, over the limit of 1,073,741,824"):
        read_image(str(path))


def test_setup_lets_pillow_open_what_the_limit_allows(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Decode(8, "squash", "bilinear", 1.0, BLACK, max_bytes=20_000).setup()
    assert Image.MAX_IMAGE_PIXELS == 5000


def test_bad_images_are_rows(put, encode, tmp_path) -> None:
    paths = [
        put("good.png"),
        tmp_path / "absent.png",
        put("empty.png", b""),
        put("text.png", b"hello there"),
        put("cut.jpg", encode("JPEG")[:300]),
        put("a folder/x.png").parent,
        put("really a jpeg.png", encode("JPEG")),
    ]
    answer = Decode(8, "squash", "bilinear", 0.875, BLACK)(batch(paths))
    out, codes = answer.rows, {row: (error.stage, error.code) for row, error in answer.errors.items()}
    bad = [("decode", name) for name in ("Missing", "Empty", "NotAnImage", "Truncated", "Unreadable")]
    assert codes == dict(enumerate(bad, start=1))
    assert out["width"].tolist() == [20, 0, 0, 0, 0, 0, 20]
    assert out["height"].tolist() == [12, 0, 0, 0, 0, 0, 12]
    assert out["transform"][1].tolist() == [1, 1, 0, 0]
    assert not out["image"][1:6].any() and out["image"][0].any() and out["image"][6].any()


def test_another_version_of_the_image_is_refused(put) -> None:
    path = put("a.png")
    decoder = Decode(8, "squash", "bilinear", 0.875, BLACK)
    assert not decoder(batch([path], 20, 12)).errors
    error = decoder(batch([path], 40, 24)).errors[0]
    assert error.code == "SizeMismatch" and "40 x 24" in error.message and "20 x 12" in error.message


def test_squash_is_pillows_resize_of_the_whole_image(put, pixels) -> None:
    out = Decode(7, "squash", "bicubic", 0.875, BLACK)(batch([put("a.png")])).rows
    expected = Image.fromarray(pixels).resize((7, 7), Image.Resampling.BICUBIC)
    assert np.array_equal(out["image"][0], expected)
    assert out["image"].dtype == np.uint8 and out["transform"].dtype == np.float64
    assert out["width"].dtype == out["height"].dtype == np.int32


def test_center_crop_is_resize_then_crop(put, pixels) -> None:
    out = Decode(7, "center_crop", "bilinear", 0.875, BLACK)(batch([put("a.png")])).rows
    expected = Image.fromarray(pixels).resize((13, 8), Image.Resampling.BILINEAR).crop((3, 0, 10, 7))
    assert np.array_equal(out["image"][0], expected)
    assert out["transform"][0].tolist() == [13 / 20, 8 / 12, -3, 0]


@pytest.mark.parametrize("size", [(500, 333), (213, 480), (101, 67)])
def test_center_crop_is_exact_on_noise(put, encode, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    out = Decode(56, "center_crop", "bicubic", 0.875, BLACK)(
        batch([put("a.png", encode("PNG", Image.fromarray(noise)))])
    ).rows
    width, height = (int(64 * size[0] / size[1]), 64) if size[0] > size[1] else (64, int(64 * size[1] / size[0]))
    left, top = round((width - 56) / 2), round((height - 56) / 2)
    resized = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    assert np.array_equal(out["image"][0], resized.crop((left, top, left + 56, top + 56)))


def test_letterbox_fills_beside_the_image(put, pixels) -> None:
    out = Decode(10, "letterbox", "bilinear", 0.875, (1, 2, 3))(batch([put("a.png")])).rows
    assert np.array_equal(out["image"][0, 2:8], Image.fromarray(pixels).resize((10, 6), Image.Resampling.BILINEAR))
    assert (out["image"][0, [0, 1, 8, 9]] == [1, 2, 3]).all()
    assert out["transform"][0].tolist() == [0.5, 0.5, 0, 2]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(20000, 1), (1, 20000), (1, 1), (3, 2)])
def test_odd_shapes(put, encode, fit: str, size: tuple[int, int]) -> None:
    path = put("a.png", encode("PNG", Image.new("RGB", size, (50, 100, 150))))
    answer = Decode(32, fit, "bicubic", 0.875, (50, 100, 150))(batch([path]))
    out = answer.rows
    assert not answer.errors
    assert (out["image"][0] == [50, 100, 150]).all()
    assert (out["width"][0], out["height"][0]) == size


def test_long_image_is_cropped_at_its_middle(put, encode) -> None:
    line = np.zeros((1, 20001, 3), dtype=np.uint8)
    line[0, 10_000] = 255
    out = Decode(32, "center_crop", "bilinear", 0.875, BLACK)(
        batch([put("a.png", encode("PNG", Image.fromarray(line)))])
    ).rows
    assert out["image"][0, :, 16].mean() > 200 > out["image"][0, :, 0].mean() + 50


def test_no_rows(put) -> None:
    out = Decode(16, "squash", "bicubic", 0.875, BLACK)(batch([])).rows
    assert out["image"].shape == (0, 16, 16, 3) and out["transform"].shape == (0, 4)


def test_unknown_choices_name_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="did you mean squash"):
        Decode(8, "squish", "bilinear", 0.875, BLACK)
    with pytest.raises(ConfigurationError, match="did you mean bicubic"):
        Decode(8, "squash", "bicubik", 0.875, BLACK)
