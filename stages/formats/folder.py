"""Functions shared by the formats that start from a folder of image files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from stages.classes import ClassInfo, comparable
from stages.errors import DataError
from stages.ingest.uris import is_folder

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
)
WNID = re.compile(r"n\d{8}")


@dataclass
class Found:
    """Image names among file names, and the files that were skipped.

    Attributes:
        names: Relative POSIX names, in the order given.
        skipped: Number of other files by kind: their extension, or why they were skipped.
    """

    names: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def skipped_line(self) -> str:
        """Summary such as ``skipped 3 files: .txt 2, hidden 1``; empty where nothing was skipped."""
        if not self.skipped:
            return ""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.skipped.items()))
        return f"skipped {self.skipped.total():,} files: {kinds}"

    def require(self, root: str) -> None:
        """Check that there are images.

        Raises:
            DataError: There are no images.
        """
        if not self.names:
            raise DataError(f"no images under {root} ({self.skipped_line() or 'it is empty'})", about="root")


def find_images(names: Iterable[str]) -> Found:
    """Pick the images by extension, in either case; hidden files and ``__MACOSX`` are not images."""
    found = Found()
    for name in names:
        path = PurePosixPath(name)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            found.skipped["hidden"] += 1
        elif path.suffix.lower() not in EXTENSIONS:
            found.skipped[path.suffix.lower() or "no extension"] += 1
        elif not _is_text(name):
            found.skipped["name not in UTF-8"] += 1
        else:
            found.names.append(name)
    return found


def require_folder(root: str) -> None:
    """Check that the root is there.

    Raises:
        DataError: The root does not exist or is not a folder.
    """
    if not is_folder(root):
        raise DataError(f"no folder {root}; name the one that the images are in", about="root")


def class_info(name: str) -> ClassInfo:
    """The class that a folder name stands for; the name may be a WordNet id."""
    wnid = comparable(name)
    return ClassInfo(name, wnid if WNID.fullmatch(wnid) else None)


def _is_text(name: str) -> bool:
    """Whether the bytes of a local file name are UTF-8; others could not be written to the manifest."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
