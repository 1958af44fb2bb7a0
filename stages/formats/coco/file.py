"""The content of JSON files, compressed or not."""

from __future__ import annotations

import json
from typing import Any

from stages.formats.content import content_of

_DIGITS = 400
"""A number of as many digits is larger than any float."""

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
    content = content_of(uri)
    try:
        try:
            return json.loads(content)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:  # A number of thousands of digits, at which Python gives up; its entry alone is wrong.
            return json.loads(content, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole(digits: str) -> float:
    """A whole number, or infinity where nothing that has a meaning here is that large."""
    return int(digits) if len(digits) < _DIGITS else float(digits)
