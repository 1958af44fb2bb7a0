"""A stranger's image as a thumbnail, made in a process whose crash costs the picture and not the page.

:func:`stages.ingest.children.each` calls :func:`photograph` there.
"""

from __future__ import annotations

from pipeline.report import thumbnails
from stages.ingest.decode import DecodeError, decode
from stages.ingest.levels import Levels
from stages.ingest.uris import read_bytes


def photograph(uri: str, levels: Levels) -> tuple[str | None, str | None, int, int]:
    """The thumbnail's data URI or why there is none, and the displayed width and height, 0 where there is none.

    Args:
        uri: The image.
        levels: Black and white of its dataset, as in :func:`stages.ingest.decode.decode`.
    """
    try:
        image = decode(read_bytes(uri), levels=levels)
        return thumbnails.photo(image), None, *image.size
    except FileNotFoundError:
        return None, "the image is no longer there", 0, 0
    except DecodeError as error:
        return None, error.message, 0, 0
    # Whatever a file system raises, one missing picture must not prevent the page.
    except Exception as error:
        return None, f"the image cannot be read ({type(error).__name__})", 0, 0
