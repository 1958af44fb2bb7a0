"""XML files about one image each, read from a folder or an object store."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from stages.ingest.paths import join
from stages.ingest.uris import read_bytes

XmlFiles = Iterable[tuple[str, bytes]]
"""Names and contents of XML files."""

MOST = 16 << 20
"""Most bytes of an XML file, which is about one image."""
_AT_ONCE = 1024
"""Files that are read ahead of what is done with them."""


def within(content: bytes) -> bytes:
    """The content of a file, empty where it is too large."""
    return content if len(content) <= MOST else b""


def files_of_folder(folder: str, names: list[str]) -> XmlFiles:
    """The files of these names in a folder; one that cannot be opened is empty."""

    def content(name: str) -> bytes:
        try:
            return within(read_bytes(join(folder, name), MOST + 1))
        except OSError:
            return b""

    with ThreadPoolExecutor(16) as pool:  # mostly waits for an object store
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            yield from zip(some, pool.map(content, some), strict=True)
