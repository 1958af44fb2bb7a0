"""Files with more than 8 bits per sample, written byte by byte: PNG with its own chunks, TIFF with its own tags."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def png16(values: np.ndarray, sbit: int | None = None, exif: Image.Exif | None = None) -> bytes:
    """A 16-bit PNG of (H, W) or (H, W, 1 to 4) values, with ``sBIT`` for all channels and an orientation."""
    height, width = values.shape[:2]
    channels = values.size // (height * width)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0))]
    parts += [(b"sBIT", bytes([sbit] * channels))] if sbit is not None else []
    parts += [(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))] if exif is not None else []
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def tiff(values: np.ndarray, order: str = "<", **tags: float) -> bytes:
    """An uncompressed TIFF of (H, W) or (H, W, 3) values of any type, in either byte order, with further tags.

    Args:
        values: The values.
        order: ``<`` or ``>``.
        tags: By name: ``orientation``, ``minimum`` and ``maximum`` (280, 281), ``smallest`` and ``largest`` (340, 341),
            and of an image of one channel ``tile_width`` and ``tile_length`` (322, 323).
    """
    height, width = values.shape[:2]
    channels = values.size // (height * width)
    kind = values.dtype.newbyteorder(order)
    body = values.astype(kind).tobytes()
    number = {"u": 1, "i": 2, "f": 3}[kind.kind]
    entries: dict[int, tuple[str, list[float]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8 * kind.itemsize] * channels),
        259: ("H", [1]),
        262: ("H", [1 if channels == 1 else 2]),
        273: ("I", [0]),  # behind the directory
        277: ("H", [channels]),
        278: ("I", [height]),
        279: ("I", [len(body)]),
        339: ("H", [number] * channels),
    }
    codes = {"orientation": (274, "H"), "minimum": (280, "H"), "maximum": (281, "H")}
    codes |= {"tile_width": (322, "I"), "tile_length": (323, "I")}
    codes |= {"smallest": (340, kind.char), "largest": (341, kind.char)}
    for name, value in tags.items():
        code, letter = codes[name]
        entries[code] = (letter, [value] * (1 if code == 274 else channels))
    start = 8 + 2 + 12 * len(entries) + 4
    beyond = b""
    directory = b""
    types = {"H": 3, "I": 4, "h": 8, "i": 9, "f": 11, "d": 12}
    sizes = sum(len(_packed(order, *one)) for one in entries.values() if len(_packed(order, *one)) > 4)
    entries[273] = ("I", [start + sizes])
    for code, (letter, numbers) in sorted(entries.items()):
        packed = _packed(order, letter, numbers)
        inside = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", start + len(beyond))
        beyond += packed if len(packed) > 4 else b""
        directory += struct.pack(f"{order}HHI", code, types[letter], len(numbers)) + inside
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + directory + bytes(4) + beyond + body


def tiff12(values: np.ndarray) -> bytes:
    """A TIFF of 12 packed bits per sample, of an even width."""
    buffer = BytesIO()
    first, second = values[:, ::2].astype(np.uint16), values[:, 1::2].astype(np.uint16)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    Image.fromarray(packed.reshape(len(values), -1)).save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    at = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        changed = {256: values.shape[1], 258: 12}.get(struct.unpack_from("<H", data, entry)[0])
        if changed is not None:
            struct.pack_into("<I", data, entry + 8, changed)
    return bytes(data)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _packed(order: str, letter: str, numbers: list[float]) -> bytes:
    return struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
