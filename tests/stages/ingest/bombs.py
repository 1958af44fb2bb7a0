"""Small files that claim or become gigabytes."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def turned(orientation: int) -> bytes:
    """The chunk of an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))


def png(width: int, height: int, depth: int = 8, colour: int = 2, *, real: bool = False, extra: bytes = b"") -> bytes:
    """A black PNG; where it is not real, its pixels are missing, and reading them fails.

    Args:
        width: Its width.
        height: Its height.
        depth: Bits per sample.
        colour: The type of its colours: 0 grey, 2 RGB, 4 grey and 6 RGB with transparency.
        real: Whether its pixels are there.
        extra: Chunks between header and pixels.
    """
    row = bytes(1 + width * {0: 1, 2: 3, 4: 2, 6: 4}[colour] * depth // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(row) for _ in range(height if real else 0)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def icon(picture: bytes, side: int = 0) -> bytes:
    """A Windows icon of one PNG, whatever side its directory claims (0 stands for 256)."""
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(picture), 22) + picture


def scans(count: int, side: int = 64, preview: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan is repeated until it has this many, and bytes of a preview in its header."""
    buffer = BytesIO()
    Image.new("RGB", (side, side), (200, 100, 50)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    missing = count - data.count(b"\xff\xda")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(preview)) + preview if preview else b""
    return data[:2] + segment + data[2:-2] + last * missing + data[-2:]
