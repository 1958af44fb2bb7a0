"""Stored values of images that may have more than 8 bits per sample, and what their files say of them.

Pillow's own conversion keeps the upper 8 bits of the container, which holds no more than noise where the data have
12 bits of 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from stages.ingest.wide_tiff import WideTiff

MAX_BYTES = 4 * 89_478_485
"""Most bytes of an image's decoded values: Pillow's own limit, above which it suspects a decompression bomb."""

_LARGEST = 65535
_BLOCK = 1 << 22
_PNG = b"\x89PNG\r\n\x1a\n"
# Header of a JPEG 2000 codestream, and where in it the precision of the first component is.
_CODESTREAM, _PRECISION = b"\xff\x4f\xff\x51", 42
# First bytes of TIFF, PNM and JPEG 2000, which may have more than 8 bits.
_DEEP = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"P2", b"P3", b"P5", b"P6", b"Pf", b"\0\0\0\x0cjP", _CODESTREAM)
_BITS, _FORMAT, _LOW, _HIGH, _SIGNED_LOW, _SIGNED_HIGH = 258, 339, 280, 281, 340, 341  # TIFF tags
_TILE = 322, 323


class Kind(NamedTuple):
    """What a file says of its samples.

    Attributes:
        name: The same for all images that say the same, such as ``16-bit grey PNG, sBIT 12``.
        colour: Whether there are three channels.
        low: Least value by the file's own words, None where it says none.
        high: Greatest value by the file's own words, None where it says none.
        aligned: Whether the file may have shifted its values to the top of the container, as the PNG specification
            asks of files with ``sBIT``.
    """

    name: str
    colour: bool = False
    low: float | None = None
    high: float | None = None
    aligned: bool = False


class Samples(NamedTuple):
    """Stored values of one image: ``values`` (H, W) or (H, W, 3) RGB, and ``alpha`` (H, W) where it has any."""

    values: np.ndarray
    alpha: np.ndarray | None = None


def may_be_deep(head: bytes) -> bool:
    """Whether a file that begins with these bytes, at least 32, can have more than 8 bits per sample."""
    return head[24:25] == b"\x10" if head.startswith(_PNG) else head.startswith(_DEEP)


def kind_of(image: Image.Image, data: bytes | None = None) -> Kind | None:
    """Kind of the samples of an image that is opened but not loaded.

    Args:
        image: The opened image.
        data: The file, at least its header; None for an image of which only the decoded values are known.

    Returns:
        None where 8 bits hold the values, and where Pillow itself scales them by a maximum of the file's own.
    """
    reader = _KINDS.get(image.format or "") if data is not None else None
    return reader(image, data or b"") if reader is not None else _of_mode(image)


def decoded_bytes(image: Image.Image, kind: Kind | None) -> int:
    """Bytes of the values of an image that is opened but not loaded, or of a tile of it where these are larger.

    Pillow holds four bytes a pixel, or makes them for RGB in the end; more are those of deep colours and of 64 bits.

    Args:
        image: The opened image.
        kind: Its kind; None for 8 bits.
    """
    of_sample = 1
    if isinstance(image, WideTiff):
        of_sample = max(image.tag_v2[_BITS]) // 8
    elif kind is not None and kind.colour:
        of_sample = 2
    of_pixel = max(4, of_sample * len(image.getbands()))
    tags = getattr(image, "tag_v2", {})
    tile = [max(1, int(tags.get(side, 1))) for side in _TILE]
    return max(image.width * image.height, tile[0] * tile[1]) * of_pixel


def samples_of(image: Image.Image, kind: Kind, data: bytes | None = None) -> Samples:
    """Values of a loaded image as its file stores them.

    Args:
        image: The image, loaded.
        kind: Its kind.
        data: The whole file.

    Raises:
        ValueError: OpenCV, which reads the values of colour images, does not see the same image as Pillow.
    """
    if isinstance(image, WideTiff):
        values = image.values
        return Samples(values[..., :3], values[..., 3]) if image.mode == "RGBA" else Samples(values)
    if not kind.colour:
        values = _array(image)
        if image.format == "TIFF":
            bits, number = _sample(image)
            if (bits, number) in _REREAD:
                values = values.view(_REREAD[bits, number])
        return Samples(values)
    from stages.ingest.opencv import decode_unchanged

    found = decode_unchanged(data or b"")
    if found is None or found.dtype != np.uint16 or found.ndim != 3 or found.shape[1::-1] != image.size:
        raise ValueError("its 16-bit colours cannot be read; save it as PNG")
    alpha = found[..., 3] if found.shape[2] == 4 and image.has_transparency_data else None
    return Samples(found[..., 2::-1], alpha)


def _array(image: Image.Image) -> np.ndarray:
    """The values of a loaded image, (H, W), copied some rows at a time: numpy's own way takes two more copies."""
    width, height = image.size
    values = np.empty((height, width), np.asarray(image.crop((0, 0, 1, 1))).dtype)
    rows = max(1, _BLOCK // width)
    for top in range(0, height, rows):
        values[top : top + rows] = np.asarray(image.crop((0, top, width, min(top + rows, height))))
    return values


# What Pillow gives in another type than the file's, by bits and sample format.
_REREAD = {(8, 2): np.int8, (32, 1): np.uint32}


def _of_mode(image: Image.Image) -> Kind | None:
    if image.mode == "F":
        return Kind("float grey")
    if image.mode.startswith("I"):
        return Kind("16-bit grey" if ";16" in image.mode else "32-bit grey")
    return None


def _png(image: Image.Image, data: bytes) -> Kind | None:
    if data[24] != 16:
        return None
    colours = {0: 1, 4: 1}.get(data[25], 3)
    name = f"16-bit {'grey' if colours == 1 else 'colour'} PNG"
    colour = image.mode.startswith("RGB")  # also grey with alpha
    bits = max(_significant_bits(data)[:colours], default=0)
    if not 0 < bits <= 16:
        return Kind(name, colour)
    return Kind(f"{name}, sBIT {bits}", colour, 0.0, 2.0**bits - 1, aligned=True)


def _significant_bits(data: bytes) -> bytes:
    """Content of the chunk ``sBIT``, which lies before the pixels; empty where there is none."""
    at = len(_PNG)
    while (name := data[at + 4 : at + 8]) not in (b"", b"IDAT"):
        length = int.from_bytes(data[at : at + 4], "big")
        if name == b"sBIT":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _tiff(image: Image.Image, data: bytes) -> Kind | None:
    bits, number = _sample(image)
    # Premultiplied transparency is left to Pillow.
    premultiplied = image.tile and _arguments(image)[0].startswith("RGBa")  # type: ignore[attr-defined]
    colour = image.mode in ("RGB", "RGBA") and not premultiplied
    if (bits <= 8 and number != 2) or not (colour or image.mode in ("L", "F") or image.mode.startswith("I")):
        return None
    sort = {2: f"signed {bits}-bit", 3: "float"}.get(number, f"{bits}-bit")
    name = f"{sort} {'colour' if colour else 'grey'} TIFF"
    if bits not in (8, 16, 32, 64):
        return Kind(name, colour, 0.0, 2.0**bits - 1)
    low, high = (_tag(image, *tags) for tags in ((_SIGNED_LOW, _LOW), (_SIGNED_HIGH, _HIGH)))
    low = low or 0.0
    if high is None or high <= low:
        return Kind(name, colour)
    # Each file may give its own extremes, so that only their number of bits can say the same for all.
    bits = 1 if number == 3 and high <= 1 else max(8, round(high).bit_length())
    return Kind(f"{name}, {bits} bits by its tags" if low >= 0 and bits <= 16 else name, colour, low, high)


def _sample(image: Image.Image) -> tuple[int, int]:
    """Bits per sample of a TIFF, and its sample format: 1 unsigned, 2 signed, 3 float."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    return max(tags.get(_BITS, (1,))), max(tags.get(_FORMAT, (1,)))


def _tag(image: Image.Image, *tags: int) -> float | None:
    """First tag that is there and holds a finite number, of several channels the greatest."""
    for tag in tags:
        value = image.tag_v2.get(tag)  # type: ignore[attr-defined]
        try:
            numbers = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            continue
        if numbers.size and np.isfinite(numbers).all():
            return float(numbers.max())
    return None


def _ppm(image: Image.Image, data: bytes) -> Kind | None:
    if image.mode == "F":
        return Kind("float grey PFM")
    arguments = _arguments(image)
    if arguments[0] != "I;16B" and arguments[-1] != _LARGEST:
        return None  # Pillow scales by the header's own white.
    colour = image.mode == "RGB"
    return Kind(f"16-bit {'colour' if colour else 'grey'} PNM", colour)


def _jpeg2000(image: Image.Image, data: bytes) -> Kind | None:
    at = data.find(_CODESTREAM)
    if at < 0 or data[at + _PRECISION : at + _PRECISION + 1] != b"\x0f":
        return None  # Pillow scales by the precision.
    colour = image.mode.startswith("RGB")
    return Kind(f"16-bit {'colour' if colour else 'grey'} JPEG 2000", colour) if colour or "I" in image.mode else None


def _arguments(image: Image.Image) -> Sequence[Any]:
    """Arguments of Pillow's decoder, of which the first is the layout of the stored pixels."""
    arguments = image.tile[0].args  # type: ignore[attr-defined]
    return (arguments,) if isinstance(arguments, str) else tuple(arguments)


_KINDS = {"PNG": _png, "TIFF": _tiff, "PPM": _ppm, "JPEG2000": _jpeg2000}
