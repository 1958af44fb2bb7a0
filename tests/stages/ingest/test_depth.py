"""Black and white of images with more than 8 bits per sample."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stages.ingest.children import each
from stages.ingest.decode import Decode, DecodeError, decode
from stages.ingest.depth import find_levels
from stages.ingest.header import read_header
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes
from tests.stages.ingest.deep import png16, tiff, tiff12

GREY = np.arange(0, 256, dtype=np.float64).reshape(16, 16)
"""Every value of 8 bits."""
COLOUR = np.stack([GREY, GREY.T, 255 - GREY], axis=-1)


def in_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of 8 bits in another number of bits, in a container of 16."""
    return np.rint(values * ((2**bits - 1) / 255)).astype(np.uint16)


def pnm(values: np.ndarray, white: int = 65535) -> bytes:
    height, width = values.shape[:2]
    return b"P%d\n%d %d\n%d\n" % (5 if values.ndim == 2 else 6, width, height, white) + values.astype(">u2").tobytes()


def pillow(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def dataset(put):
    """Records of files given by content, with the header of each read, as a run begins with them."""

    def make(*contents: bytes, known: bool = False) -> list[ImageRecord]:
        paths = [put(f"{index}.bin", content) for index, content in enumerate(contents)]
        side = {"width": 16, "height": 16} if known else {}
        records = [ImageRecord(index, str(path), path.name, **side) for index, path in enumerate(paths)]
        return fill_sizes(Dataset([], records, [])).records

    return make


def shown(content: bytes, levels: dict[str, tuple[float, float]]) -> np.ndarray:
    return np.asarray(decode(content, levels=levels))


WRITERS = {
    "png": png16,
    "png-sbit": lambda values: png16(values, sbit=12),
    "tiff-little-endian": tiff,
    "tiff-big-endian": lambda values: tiff(values, ">"),
    "tiff-maximum": lambda values: tiff(values, maximum=4095),
    "tiff-largest": lambda values: tiff(values, largest=3900),
    "pnm": pnm,
}


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("writer", WRITERS)
def test_twelve_bits_of_sixteen_are_the_8_bit_original(dataset, writer, pixels) -> None:
    content = WRITERS[writer](in_bits(pixels, 12))
    levels, notes = find_levels(dataset(content))
    expected = np.broadcast_to(pixels.reshape(16, 16, -1), (16, 16, 3))
    assert np.array_equal(shown(content, levels), expected)
    assert len(notes) == 1 and "values from 0 to 4095, 4095 is shown as white" in notes[0]


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 12, 13, 14, 15, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_any_number_of_bits(dataset, bits: int, kind: type, order: str) -> None:
    content = tiff(in_bits(GREY, bits).astype(kind), order)
    levels, _ = find_levels(dataset(content))
    assert list(levels.values()) == [(0, 2**bits - 1)]
    assert np.array_equal(shown(content, levels)[..., 1], GREY)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "white", "expected"),
    [
        (np.float32, 1, "float colour TIFF"),
        (np.float64, 1, "float colour TIFF"),
        (np.float64, 65535, "float colour TIFF"),
        (np.int16, 4095, "signed 16-bit colour TIFF"),
        (np.uint32, 65535, "32-bit colour TIFF"),
        (np.int32, 4095, "signed 32-bit colour TIFF"),
    ],
)
def test_colours_of_every_type(dataset, kind: type, white: float, expected: str, order: str) -> None:
    values = COLOUR * (white / 255)
    content = tiff((values if white == 1 else np.rint(values)).astype(kind), order)
    dark = tiff((COLOUR * (white / 2550)).astype(kind), order)
    levels, _ = find_levels(dataset(dark, content))
    assert levels == {expected: (0, white)}
    assert np.array_equal(shown(content, levels), COLOUR) and shown(dark, levels).max() in (25, 26)


def test_twelve_packed_bits(dataset) -> None:
    content = tiff12(in_bits(GREY, 12) // 4)
    levels, _ = find_levels(dataset(content))
    assert levels == {"12-bit grey TIFF": (0, 4095)}
    assert np.array_equal(shown(content, levels)[..., 0], np.rint((in_bits(GREY, 12) // 4) * (255 / 4095)))


def test_the_dataset_decides_not_the_image(dataset) -> None:
    bright, dark = png16(in_bits(GREY, 12)), png16(in_bits(GREY, 12) // 16)
    records = dataset(bright, dark)
    levels, notes = find_levels(records)
    assert levels == {"16-bit grey PNG": (0, 4095)} == find_levels(records[::-1])[0]
    assert shown(dark, levels).max() == 16 and shown(dark, {}).max() == 255
    assert notes[0].startswith("2 images of 16-bit grey PNG: values from 0 to 4095")


def test_images_of_8_bits_are_not_looked_at(dataset, monkeypatch, encode) -> None:
    import stages.ingest.depth as module

    monkeypatch.setattr(module, "each", lambda _, uris: list(map(pytest.fail, uris)))
    eight = [encode("PNG"), encode("JPEG"), encode("TIFF"), encode("WEBP")]
    assert find_levels(dataset(*eight)) == ({}, [])
    named = [ImageRecord(1, "absent/a.jpg", "absent/A.JPG", width=9, height=9)]
    assert find_levels(named) == ({}, [])


def test_where_the_sizes_are_known_the_headers_are_still_unread(dataset, encode) -> None:
    records = dataset(encode("PNG"), png16(in_bits(GREY, 12)), encode("TIFF"), known=True)
    assert [one.deep for one in records] == [None] * 3
    assert find_levels(records)[0] == {"16-bit grey PNG": (0, 4095)}
    large = np.arange(400 * 400, dtype=np.uint16).reshape(400, 400) % 1024
    assert find_levels(dataset(tiff(large), png16(large), known=True))[0] == {
        "16-bit grey PNG": (0, 1023),
        "16-bit grey TIFF": (0, 1023),
    }


def test_kinds_are_decided_apart(dataset, encode) -> None:
    contents = [
        encode("JPEG"),
        png16(in_bits(GREY, 12)),
        png16(in_bits(COLOUR, 16)),
        tiff((GREY / 255).astype(np.float32)),
        tiff(in_bits(GREY, 10)),
    ]
    levels, notes = find_levels(dataset(*contents))
    assert levels == {
        "16-bit colour PNG": (0, 65535),
        "16-bit grey PNG": (0, 4095),
        "16-bit grey TIFF": (0, 1023),
        "float grey TIFF": (0, 1),
    }
    assert len(notes) == 4
    assert [shown(one, levels).max() for one in contents[1:]] == [255] * 4


def test_sixteen_bits_keep_the_bytes_that_pillow_gives(dataset) -> None:
    generator = np.random.default_rng(0)
    for channels in (3, 4):
        values = generator.integers(0, 65536, (16, 16, channels)).astype(np.uint16)
        values[..., 3:] |= 0x8000
        content = png16(values)
        levels, _ = find_levels(dataset(content))
        with Image.open(BytesIO(content)) as image:
            white = Image.new("RGBA", image.size, "white")
            expected = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        assert np.array_equal(shown(content, levels), expected) and np.array_equal(shown(content, {}), expected)
    grey = generator.integers(0, 65536, (16, 16)).astype(np.uint16)
    levels, _ = find_levels(dataset(png16(grey)))
    assert np.array_equal(shown(png16(grey), levels)[..., 0], np.rint(grey / 257))


class TestSBIT:
    """PNG asks for values shifted to the top of the container; many writers leave them at the bottom."""

    def test_dark_images_keep_their_bits(self, dataset) -> None:
        content = png16(in_bits(GREY, 12) // 4, sbit=12)
        levels, notes = find_levels(dataset(content))
        assert levels == {"16-bit grey PNG, sBIT 12": (0, 4095)} and "values from 0 to 1023, 4095 is" in notes[0]
        assert shown(content, levels).max() == 64

    def test_values_at_the_top_have_the_container_s_white(self, dataset) -> None:
        dim = in_bits(GREY, 12) // 2  # of 12 bits, the highest missing
        levels, notes = find_levels(dataset(png16(dim * 16, sbit=12)))
        assert levels == {"16-bit grey PNG, sBIT 12": (0, 65535)} and "beyond" not in notes[0]

    def test_one_image_that_contradicts_is_counted(self, dataset) -> None:
        files = [png16(in_bits(GREY, 12), sbit=12)] * 3 + [png16(in_bits(GREY, 16), sbit=12)]
        levels, notes = find_levels(dataset(*files))
        assert levels == {"16-bit grey PNG, sBIT 12": (0, 4095)}
        assert "values beyond what the file says are clipped in 1" in notes[0]

    def test_few_bits_and_all_bits(self, dataset) -> None:
        four = (np.arange(256) % 16).reshape(16, 16).astype(np.uint16)
        levels, _ = find_levels(dataset(png16(four, sbit=4), png16(in_bits(GREY, 12), sbit=16), png16(four, sbit=0)))
        assert levels == {
            "16-bit grey PNG": (0, 255),
            "16-bit grey PNG, sBIT 16": (0, 65535),
            "16-bit grey PNG, sBIT 4": (0, 15),
        }


class TestTags:
    def test_each_file_may_give_its_own_extremes(self, dataset) -> None:
        dark = in_bits(GREY, 12) // 8
        files = [tiff(in_bits(GREY, 12), maximum=4095), tiff(dark + 2000, maximum=2511, minimum=2000)]
        levels, _ = find_levels(dataset(*files))
        assert levels == {"16-bit grey TIFF, 12 bits by its tags": (0, 4095)}

    def test_a_wrong_maximum_is_not_followed(self, dataset) -> None:
        levels, notes = find_levels(dataset(tiff(in_bits(GREY, 12), maximum=255)))
        assert levels == {"16-bit grey TIFF, 8 bits by its tags": (0, 4095)}
        assert "not what the files say, beyond which are the values of 1" in notes[0]

    def test_signed_extremes(self, dataset) -> None:
        values = np.array([[-900, 0, 3071]], np.int16)
        content = tiff(values, smallest=-1024, largest=3071)
        levels, notes = find_levels(dataset(content))
        assert levels == {"signed 16-bit grey TIFF": (-1024, 3071)}
        assert "-1024 is shown as black and 3071 is shown as white" in notes[0]
        assert shown(content, levels)[0, :, 0].tolist() == [8, 64, 255]

    def test_a_maximum_of_nothing_says_nothing(self, dataset) -> None:
        levels, _ = find_levels(dataset(tiff(in_bits(GREY, 12), maximum=0)))
        assert levels == {"16-bit grey TIFF": (0, 4095)}


@pytest.mark.parametrize(
    ("values", "range_", "expected"),
    [
        (np.array([[0, 0.5, 1.0]], np.float32), (0, 1), [0, 128, 255]),
        (np.array([[0, 0.25, 0.5]], np.float32), (0, 1), [0, 64, 128]),
        (np.array([[0, 127.6, 255]], np.float32), (0, 255), [0, 128, 255]),
        (np.array([[0, 2048, 4095]], np.float32), (0, 4095), [0, 128, 255]),
        (np.array([[-0.5, 0, 0.5]], np.float32), (-0.5, 0.5), [0, 128, 255]),
        (np.array([[0, 0.51, 1.02]], np.float32), (0, 1.02), [0, 128, 255]),
        (np.array([[np.nan, np.inf, 0.5]], np.float32), (0, 1), [0, 0, 128]),
        (np.array([[-1024, 0, 3071]], np.int16), (-1024, 3071), [0, 64, 255]),
        (np.array([[-5, 0, 5]], np.int8), (-5, 5), [0, 128, 255]),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), (0, 2**32 - 1), [0, 128, 255]),
        (np.array([[3000, 3000]], np.uint16), (0, 4095), [187, 187]),
        (np.array([[0, 0]], np.uint16), (0, 255), [0, 0]),
        (np.array([[7, 7]], np.float32), (7, 7), [0, 0]),
    ],
)
def test_range_of_every_type(dataset, values, range_, expected) -> None:
    content = tiff(values)
    levels, _ = find_levels(dataset(content))
    assert list(levels.values()) == [pytest.approx(range_)]
    assert shown(content, levels)[0, :, 0].tolist() == expected


def test_values_that_are_not_finite_are_counted(dataset) -> None:
    files = [tiff(np.array([[0, value, 1]], np.float32)) for value in (0.5, np.nan, np.inf)]
    _, notes = find_levels(dataset(*files))
    assert notes[0].startswith("3 images of float grey TIFF (2 with values that are not finite, shown as black): ")


def test_a_bright_minority_is_named(dataset) -> None:
    files = [png16(in_bits(GREY, 12))] * 4 + [png16(in_bits(GREY, 16))]
    levels, notes = find_levels(dataset(*files))
    assert levels == {"16-bit grey PNG": (0, 65535)}
    assert "4 of them end at 4095 or below and look dark" in notes[0]


def test_floats_of_two_ranges_are_named(dataset) -> None:
    shares, counts = np.array([[0, 0.5, 1]], np.float32), np.array([[0, 500, 1000]], np.float32)
    levels, notes = find_levels(dataset(*map(tiff, (shares, counts, counts))))
    assert levels == {"float grey TIFF": (0, 1023)}
    assert notes[0].endswith("1 of them end at 1 or below and look dark")


class TestTransparency:
    def test_it_has_a_white_of_its_own(self, dataset) -> None:
        for opaque in (4095, 65535):
            rgba = np.dstack([in_bits(COLOUR, 12), np.full((16, 16), opaque, np.uint16)])
            levels, notes = find_levels(dataset(png16(rgba)))
            assert np.array_equal(shown(png16(rgba), levels), COLOUR) and len(notes) == 1
            assert np.array_equal(shown(png16(rgba), {"every": (0, 4095)}), COLOUR)

    def test_it_lies_over_white(self, dataset) -> None:
        la = np.array([[[0, 4095], [0, 0], [4095, 4095]]], np.uint16)
        levels, _ = find_levels(dataset(png16(la)))
        assert shown(png16(la), levels)[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "float TIFF"])
def test_orientation_of_deep_images(format: str, colour: bool, orientation: int) -> None:
    pixels = (COLOUR if colour else GREY)[8:]
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = in_bits(pixels, 12)
    kind = np.float64 if format.startswith("float") else np.uint16
    content = png16(deep, exif=exif) if format == "PNG" else tiff(deep.astype(kind), orientation=orientation)
    plain = pillow(Image.fromarray(pixels.astype(np.uint8)), "PNG", exif=exif)
    assert np.array_equal(decode(content), decode(plain))
    assert read_header(BytesIO(content)).displayed == decode(content).size


def test_a_white_that_the_header_names_is_left_to_pillow(dataset) -> None:
    grey, colour = pnm(in_bits(GREY, 12), 4095), pnm(in_bits(COLOUR, 12), 4095)
    assert find_levels(dataset(grey, colour)) == ({}, [])
    assert np.array_equal(shown(grey, {})[..., 0], GREY) and np.array_equal(shown(colour, {}), COLOUR)


class TestGivenDepth:
    def test_it_holds_for_every_kind_and_a_sample_is_checked(self, dataset) -> None:
        files = [
            png16(in_bits(GREY, 12) // 4),
            tiff(in_bits(COLOUR, 12) // 4),
            tiff(in_bits(GREY, 12).astype(np.float32)),
        ]
        levels, notes = find_levels(dataset(*files), depth=12)
        assert levels == {"every": (0, 4095)} and notes == []
        assert [shown(one, levels).max() for one in files] == [64, 64, 255]

    def test_what_it_clips_is_counted(self, dataset) -> None:
        bright = png16(in_bits(GREY, 12))
        levels, notes = find_levels(dataset(bright, png16(in_bits(GREY, 10))), depth=10)
        assert notes == ["1 of 2 images looked at have values beyond 0 to 1023, which are clipped"]
        assert (shown(bright, levels)[..., 0] == 255).mean() == pytest.approx(0.75, abs=0.01)

    def test_one_bit_is_from_0_to_1(self, dataset) -> None:
        content = tiff(np.array([[0, 0.5, 1, 3]], np.float32))
        levels, notes = find_levels(dataset(content), depth=1)
        assert shown(content, levels)[0, :, 0].tolist() == [0, 128, 255, 255]
        assert "beyond 0 to 1, which are clipped" in notes[0]

    def test_nothing_to_set_it_for_is_said(self, dataset, encode) -> None:
        assert "no image that was looked at has more than 8" in find_levels(dataset(encode("PNG")), depth=12)[1][0]

    def test_of_many_images_a_few_are_read(self, dataset, monkeypatch) -> None:
        import stages.ingest.depth as module

        (record,) = dataset(png16(in_bits(GREY, 12)))
        seen = []
        monkeypatch.setattr(module, "each", lambda name, uris: seen.extend(uris) or each(name, uris))
        find_levels([record] * 1000, depth=12)
        assert len(seen) == 63
        find_levels([record] * 100)
        assert len(seen) == 163


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_image_decides_nothing(dataset, tmp_path) -> None:
    good = png16(in_bits(GREY, 12))
    records = dataset(good, good[:90], b"\x89PNG\r\n\x1a\n", b"", b"II*\0 and nothing")
    gone = ImageRecord(9, str(tmp_path / "gone.png"), "gone.png")
    assert find_levels([*records, gone])[0] == {"16-bit grey PNG": (0, 4095)}


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_wide_tiffs_that_are_cut_off_or_too_large_never_pass() -> None:
    content = tiff(COLOUR.astype(np.float64))
    for share in (0.01, 0.05, 0.5, 0.9):
        with pytest.raises(DecodeError) as caught:
            decode(content[: int(len(content) * share)])
        assert caught.value.code in {"Truncated", "Unreadable"} and "\n" not in caught.value.message
    with pytest.raises(DecodeError, match="16 x 16 pixels take 6,144 bytes, over the limit of 6,143"):
        decode(content, max_bytes=6143)
    with pytest.raises(
        DecodeError, match="a TIFF of 2 x 16 bits in sample format 1, which is not read; save it as PNG"
    ):
        decode(tiff(np.zeros((4, 4, 2), np.uint16)))


def test_the_stage_takes_the_levels(put) -> None:
    path = put("dark.png", png16(in_bits(GREY, 12) // 16))
    row = {
        "image_id": np.arange(1),
        "uri": np.array([str(path)], dtype=object),
        "width": np.zeros(1, np.int32),
        "height": np.zeros(1, np.int32),
    }
    stage = Decode(16, "squash", "bilinear", 1.0, (0, 0, 0), levels={"16-bit grey PNG": (0, 4095)})
    assert stage(row).rows["image"].max() == 16
