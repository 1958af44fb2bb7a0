"""The content of JSON files, compressed or not."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from stages.ingest.uris import read_bytes

ENDINGS = (".json", ".json.gz")


def parse(uri: str) -> Any:
    """The content of a JSON file.

    Args:
        uri: Local path or uri; the file may begin with a byte-order mark or be compressed by gzip.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON.
    """
    try:
        return json.loads(text(uri))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def text(uri: str) -> bytes:
    """The text of a JSON file, not parsed.

    Raises:
        OSError: It cannot be read.
        ValueError: It is compressed and broken.
    """
    data = read_bytes(uri)
    try:
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"broken gzip: {error}") from None
