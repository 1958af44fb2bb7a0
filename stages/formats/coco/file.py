"""The content of JSON files, compressed or not."""

from __future__ import annotations

import json
from typing import Any

from stages.formats.content import content_of

ENDINGS = (".json", ".json.gz")


def parse(uri: str) -> Any:
    """The content of a JSON file.

    Args:
        uri: Local path or uri; the file may begin with a byte-order mark or be compressed by gzip.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON.
        DataError: It is packed and damaged, or too large.
    """
    try:
        return json.loads(content_of(uri))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
