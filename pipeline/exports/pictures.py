"""The image files of an export: links to those of the dataset, or copies with the orientation applied."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from PIL import ImageOps

from stages.errors import ConfigurationError, DataError, UserError, first_line
from stages.ingest.children import each
from stages.ingest.header import ORIENTATIONS
from stages.ingest.opening import open_image
from stages.ingest.paths import local_path
from stages.ingest.uris import read_bytes

PICTURES = ("link", "copy", "none")
"""What may become of the images: links to the files of the dataset, copies, or nothing."""

_LIKE = {"MPO": "JPEG"}
_BEST: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
"""How an image that is turned is encoded, by its format."""


def place_pictures(pairs: Iterable[tuple[str, Path]], how: str) -> list[str]:
    """Put the images of a dataset where an export has them.

    Copies are the bytes of the file, except that an image which its EXIF orientation turns is turned and encoded
    again: some readers ignore the orientation, and boxes belong to the displayed image.

    Args:
        pairs: Uri of each image, and the new file.
        how: One of :data:`PICTURES`.

    Returns:
        Findings, one line each, with counts.

    Raises:
        ConfigurationError: A link is asked for to an image that is no file of this machine.
        OSError: The disk is full or cannot be written.
    """
    if how == "none":
        return []
    pairs = list(pairs)
    headers = each("stages.ingest.header:header_at", [uri for uri, _ in pairs])
    turned = [isinstance(header, list) and header[2] in ORIENTATIONS for header in headers]
    place = _link if how == "link" else _copy
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place, pairs, turned))
    what = {
        "link": "images have an EXIF orientation, which some readers ignore; --images copy applies it",
        "copy": "images were turned as their EXIF orientation says, and encoded again",
    }
    return [f"{sum(turned):,} {what[how]}"] if any(turned) else []


def _link(pair: tuple[str, Path], _: bool) -> None:
    uri, target = pair
    path = local_path(uri)
    if path is None or not os.path.isfile(path):
        raise ConfigurationError(f"{uri} is no file that can be linked to; use --images copy or none", about="images")
    target.symlink_to(os.path.abspath(path))


def _copy(pair: tuple[str, Path], turned: bool) -> None:
    uri, target = pair
    try:
        data = read_bytes(uri)
        data = _upright(data) if turned else data
    except UserError:
        raise
    except Exception as error:  # Pillow may raise anything for what has changed since the run.
        raise DataError(f"cannot read {uri}: {first_line(error)}; put it back, or use --images none") from None
    target.write_bytes(data)


def _upright(data: bytes) -> bytes:
    with open_image(BytesIO(data)) as image:
        format, profile = image.format or "", image.info.get("icc_profile")
        upright = ImageOps.exif_transpose(image)
    facts = {"icc_profile": profile} if profile else {}
    sink = BytesIO()
    upright.save(sink, _LIKE.get(format, format), exif=upright.getexif(), **facts, **_BEST.get(format, {}))
    return sink.getvalue()
