"""What the header of an image says, by bounded reads: neither its pixels nor the rest of its file are looked at."""

from __future__ import annotations

import io
import os
import sys
import zlib
from io import BytesIO
from typing import IO, Any, NamedTuple

from PIL import Image

from stages.errors import UserError
from stages.ingest.opening import PNG, SIGNATURES, open_image
from stages.ingest.samples import kind_of, may_be_deep
from stages.ingest.uris import open_file, read_bytes

# Enough for the header of nearly every file.
_HEAD = 1 << 16
_MOST = 64 << 20
"""Bytes that the header of a file may take: profiles, previews and descriptions have some megabytes."""
_BUFFER = 1 << 18
_TOO_LONG = f"its header has more than {_MOST >> 20} MiB"

_ORIENTATION_TAG = 0x0112
ORIENTATIONS = range(2, 9)
"""EXIF orientations that change an image."""
# Where a PNG may carry its orientation, before its pixels or after them: kinds of chunks, and keys of those of text.
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_KEYS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


class Header(NamedTuple):
    """What the header of an image says about its frame.

    Attributes:
        displayed: Width and height with the orientation applied.
        stored: Width and height of the pixels as they are stored.
        orientation: EXIF orientation, 1 to 8.
        deep: Whether its samples have more than 8 bits.
    """

    displayed: tuple[int, int]
    stored: tuple[int, int]
    orientation: int
    deep: bool = False


def header_at(uri: str) -> Header | None:
    """The header of the image behind a path or uri; None where it cannot be read.

    Raises:
        UserError: The disk or store does not answer, or a package that the uri needs is not installed.
    """
    try:
        head = read_bytes(uri, _HEAD)
        whole = len(head) < _HEAD
        if whole or not head.startswith(PNG):
            try:
                return read_header(BytesIO(head))
            except Exception:  # It may be longer.
                if whole:
                    raise
        with open_file(uri) as file:
            return read_header(file)
    except UserError:
        raise
    # Pillow's plugins may raise anything; an unreadable image is reported when it is decoded.
    except Exception:
        return None


def seems_an_image(uri: str) -> bool:
    """Whether a file is or begins like an image, though it may be broken; true where it cannot be read.

    Raises:
        UserError: As for :func:`header_at`.
    """
    try:
        return read_bytes(uri, _HEAD).startswith(SIGNATURES) or header_at(uri) is not None
    except OSError:
        return True


def read_header(file: IO[bytes]) -> Header:
    """Sizes, orientation and depth of an image.

    Args:
        file: The whole file, seekable; of most formats the beginning is enough.

    Raises:
        Exception: Whatever Pillow raises for bytes that are cut off or not an image.
    """
    head = file.read(_HEAD)
    file.seek(0)
    with open_image(io.BufferedReader(_Bounded(file, _MOST), _BUFFER)) as image:
        size, turned = image.size, image.size[::-1]
        deep = may_be_deep(head) and kind_of(image, head) is not None
        orientation = _orientation_of_png(file) if image.format == "PNG" else orientation_of(image)
        if orientation < 5:
            return Header(size, size, orientation, deep)
        # Pillow reports the size of a TIFF upright, but keeps the tag until the pixels are loaded.
        tiff = image.format == "TIFF"
        return Header(*((size, turned) if tiff else (turned, size)), orientation, deep)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. A broken EXIF block does not affect the pixels, so it counts as 1."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if value in ORIENTATIONS else 1


def _orientation_of_png(file: IO[bytes]) -> int:
    """The orientation, as Pillow finds it in a PNG of a single pixel with the same chunks about it.

    In the file itself, Pillow reads the chunks after the pixels only once it has decoded these.
    """
    file = io.BufferedReader(_Bounded(file, sys.maxsize), _BUFFER)  # What is between the chunks is not kept.
    file.seek(len(PNG))
    found: list[bytes] = []
    while len(start := file.read(8)) == 8 and start[4:] != b"IEND":
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        key = file.read(min(length, max(map(len, _KEYS)))) if kind in _TEXTS else b""
        if kind == b"eXIf" or key.startswith(_KEYS):
            if length + sum(map(len, found)) > _MOST:
                raise OSError(_TOO_LONG)
            found.append(start + key + file.read(length - len(key) + 4))
        else:
            file.seek(length - len(key) + 4, os.SEEK_CUR)
    if not found:
        return 1
    pixel = _chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), *found, _chunk(b"IDAT", zlib.compress(b"\0\0"))
    with open_image(BytesIO(b"".join((PNG, *pixel, _chunk(b"IEND", b""))))) as image:
        image.load()
        return orientation_of(image)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


class _Bounded(io.RawIOBase):
    """A file of which no more than a number of bytes are read, in small pieces.

    Raises:
        OSError: More are asked for.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), _BUFFER))
        self._left -= len(data)
        if self._left < 0:
            raise OSError(_TOO_LONG)
        buffer[: len(data)] = data
        return len(data)
