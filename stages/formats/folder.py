"""Functions shared by the formats that start from a folder of image files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from posixpath import splitext

from stages.classes import ClassInfo, comparable, some
from stages.errors import DataError
from stages.formats.system_files import system_kind
from stages.ingest.image_formats import EXTENSIONS
from stages.ingest.uris import is_folder, list_folder

# A WordNet id as a word of its own: alone, or with the class's name behind it.
_WNID = re.compile(r"(?<![^\W_])n\d{8}(?![^\W_])")


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
            what = self.skipped_line() or _only_folders(root) or "it is empty"
            raise DataError(f"no images under {root} ({what})", about="root")


def find_images(names: Iterable[str]) -> Found:
    """Pick the images by extension, in either case, without what is hidden or belongs to a system.

    Args:
        names: Relative POSIX names of files, and with a slash at the end those of folders that cannot be read.
    """
    found = Found()
    for name in names:
        suffix = splitext(name)[1].lower()
        kind = system_kind(name)
        if name.endswith("/"):
            found.skipped.update([] if kind else ["folders that cannot be read"])
        elif kind:
            found.skipped[kind] += 1
        elif suffix not in EXTENSIONS:
            found.skipped[suffix or "no extension"] += 1
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


def sub_folders(folder: str) -> list[str]:
    """Names of the folders in a folder that do not belong to a system, in bytewise order."""
    return [name for name in list_folder(folder)[0] if not system_kind(f"{name}/")]


def class_info(name: str) -> ClassInfo:
    """The class that a folder name stands for; the name may be a WordNet id."""
    return ClassInfo(name, wnid=wnid_of(comparable(name)) or None)


def wnid_of(name: str) -> str:
    """The WordNet id in the name of a folder or file; empty where it has none.

    >>> wnid_of("n01440764"), wnid_of("n01440764-tench"), wnid_of("tench")
    ('n01440764', 'n01440764', '')
    """
    found = _WNID.search(name)
    return found[0] if found else ""


def _only_folders(root: str) -> str:
    folders = list_folder(root)[0]
    return f"it has only folders: {some(folders)}" if folders else ""


def _is_text(name: str) -> bool:
    """Whether the bytes of a local file name are UTF-8; others could not be written to the manifest."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
