"""Masks that are images: run lengths of their pixels, at their own size or at another's.

The files are strangers', so :func:`mask_at` is called in the processes of :mod:`stages.ingest.children`.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np

from stages.errors import UserError
from stages.ingest import run_lengths
from stages.ingest.opening import open_image
from stages.ingest.samples import MAX_BYTES, decoded_bytes, kind_of
from stages.ingest.uris import read_file


def mask_at(uri: str) -> tuple[int, int, str] | None:
    """Width, height and run lengths of the mask behind a path or uri; None where it cannot be read.

    Its foreground are the pixels that are not black, whatever the mode of the image; transparency does not count.

    Raises:
        UserError: The disk or store does not answer, or a package that the uri needs is not installed.
    """
    try:
        data = read_file(uri)
        with open_image(BytesIO(data)) as image:
            pixels = image.width * image.height
            if pixels > run_lengths.MAX_PIXELS or decoded_bytes(image, kind_of(image, data)) > MAX_BYTES:
                return None
            grey = np.asarray(image if image.mode.startswith(("I", "F")) else image.convert("L"))
        return (*grey.shape[::-1], run_lengths.encode(grey > 0).decode("ascii"))
    except UserError:
        raise
    except Exception:  # Pillow's plugins may raise anything.
        return None


def fitted(mask: bytes, size: tuple[int, int], target: tuple[int, int]) -> bytes:
    """A mask at another size, by OpenCV's ``INTER_NEAREST``: each pixel is the one below its upper left corner.

    Args:
        mask: Run lengths.
        size: Width and height of the mask.
        target: Width and height of the result, together at most :data:`stages.ingest.run_lengths.MAX_PIXELS`.

    Returns:
        Run lengths.
    """
    if size == target:
        return mask
    xs, ys = (
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)
        for old, new in zip(size, target, strict=True)
    )
    return run_lengths.encode(run_lengths.decode([mask], *size)[ys].take(xs, axis=1))
