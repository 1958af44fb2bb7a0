"""Depth of a dataset: what is black and what is white in images with more than 8 bits per sample.

A 16-bit container does not say how many bits its data have. White is what the files say, in PNG's ``sBIT`` and in the
tags of TIFF, or else follows from the values of the whole dataset, so that every image is scaled like the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image

from stages.errors import UserError
from stages.ingest.children import Lost, each
from stages.ingest.levels import EVERY, Look, Range, beyond, decide, look, white_of
from stages.ingest.opening import open_image
from stages.ingest.records import ImageRecord
from stages.ingest.samples import MAX_BYTES, Kind, decoded_bytes, kind_of, may_be_deep, samples_of
from stages.ingest.uris import read_bytes, read_file

# Names of formats that have 8 bits.
_SHALLOW = {".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp"}
_HEADER_BYTES = 1 << 16
# Images that a given depth is compared with.
_CHECKED = 64


def find_levels(records: Sequence[ImageRecord], depth: int | None = None) -> tuple[dict[str, Range], list[str]]:
    """Decide what is black and what is white in the images with more than 8 bits per sample.

    Every such image is decoded, unless the depth is given; of the others at most the header is read. Images that cannot
    be read are left out; decoding them later reports what is wrong.

    Args:
        records: The dataset.
        depth: Bits per sample that the data are known to have; 1 stands for values from 0 to 1.

    Returns:
        Ranges for :class:`stages.ingest.decode.Decode`, none where no image has more than 8 bits; and notes.

    Raises:
        UserError: A package that the images need is not installed, or the disk or store does not answer.
    """
    chosen = [record for record in records if _in_question(record)]
    if depth is not None:
        chosen = chosen[:: -(-len(chosen) // _CHECKED) or 1]
    answers = each("stages.ingest.depth:look_at", [record.uri for record in chosen])
    looks = [Look(Kind(*one[0]), *one[1:]) for one in answers if one is not None and not isinstance(one, Lost)]
    if depth is None:
        return decide(looks)
    given = (0.0, white_of(depth))
    clipped = beyond(looks, given)
    if not looks:
        notes = [f"{depth} bits are set, but no image that was looked at has more than 8"]
    elif clipped:
        notes = [f"{clipped} of {len(looks)} images looked at have values beyond 0 to {given[1]:g}, which are clipped"]
    else:
        notes = []
    return {EVERY: given}, notes


def look_at(uri: str) -> Look | None:
    """Range of the values of one file; None where it has at most 8 bits, or cannot be read.

    Raises:
        UserError: As in :func:`find_levels`.
    """
    try:
        data = read_bytes(uri, _HEADER_BYTES)
        if not may_be_deep(data) or _is_shallow(data):
            return None
        data = data if len(data) < _HEADER_BYTES else read_file(uri)
        return look_into(open_image(BytesIO(data)), data)
    except UserError:
        raise
    # As in decode(), Pillow's plugins may raise anything.
    except Exception:
        return None


def look_into(image: Image.Image, data: bytes | None = None) -> Look | None:
    """Range of the values of an opened image; None where it has at most 8 bits, or more bytes than are decoded.

    Args:
        image: The image, which is loaded.
        data: Its file; None where it has none.

    Raises:
        Exception: Whatever Pillow raises for pixels that it cannot decode.
    """
    kind = kind_of(image, data)
    if kind is None or decoded_bytes(image, kind) > MAX_BYTES:
        return None
    image.load()
    return look(kind, samples_of(image, kind, data))


def _is_shallow(head: bytes) -> bool:
    try:
        with open_image(BytesIO(head)) as image:
            return kind_of(image, head) is None
    except Exception:  # What says it may lie at the end of the file.
        return False


def _in_question(record: ImageRecord) -> bool:
    if record.deep is None:
        return PurePosixPath(record.file_name).suffix.lower() not in _SHALLOW
    return record.deep
