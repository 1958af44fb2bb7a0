"""Scans of a JPEG: each goes over the whole image again, and takes a few bytes of a hostile file."""

from __future__ import annotations

import re

MOST_SCANS = 100
"""Progressive files have about ten; a scan for each coefficient alone would be 64 of a component."""

_SCAN = b"\xff\xda"
# What follows a scan: a marker that is neither a stuffed zero nor a restart within it.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_BARE = (b"\xff\x01", b"\xff\xd8")
"""Markers without a length."""


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG has more scans than :data:`MOST_SCANS`; what only looks like one, in a preview, does not count.

    Args:
        data: The whole file.
    """
    if not data.startswith(b"\xff\xd8") or data.count(_SCAN) <= MOST_SCANS:
        return False
    scans, at = 0, 0
    while scans <= MOST_SCANS and (found := _MARKER.search(data, at)) and found[0] != b"\xff\xd9":
        scans += found[0] == _SCAN
        bare = found[0] in _BARE
        at = found.end() + (0 if bare else int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return scans > MOST_SCANS
