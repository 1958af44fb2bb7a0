"""Where images and annotations of one part may lie: a root, the known tree above it, folders in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from stages.formats.folder import wnid_of
from stages.formats.system_files import system_kind
from stages.ingest.paths import basename, join, parent
from stages.ingest.uris import list_folder

Part = Literal["val", "train"]
"""A part of ILSVRC2012."""

# If the root is deep in a known tree, the annotations may be above it.
_LEVELS = ("CLS-LOC", "Data", "ILSVRC")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_OTHER_PARTS = {
    part: re.compile(rf"({other}|test)([^a-z].*)?", re.IGNORECASE)
    for part, other in (("val", "train"), ("train", "val"))
}
# A folder with more sub-folders than this is no download with the dataset in one of them.
_MOST = 50


def is_tar(uri: str) -> bool:
    """Whether a name says that the file is a tar, gzipped or not."""
    return basename(uri).lower().endswith(_ARCHIVES)


def class_number(folder: str) -> int | None:
    """The number that a folder's name is, where it may number a class.

    >>> class_number("0007"), class_number("2012"), class_number("val")
    (7, None, None)
    """
    return int(folder) if folder.isascii() and folder.isdecimal() and int(folder) <= 1000 else None


def is_class(folder: str) -> bool:
    """Whether a folder's name says one of the 1000 classes, by WordNet id or number."""
    return bool(wnid_of(folder)) or class_number(folder) is not None


def two_levels(folder: str) -> list[str]:
    """The files of a folder and of its class folders."""
    folders, files = list_folder(folder)
    for name in filter(is_class, folders):
        files += [f"{name}/{file}" for file in list_folder(join(folder, name))[1]]
    return files


def inside(root: str, folders: list[str], part: Part = "val") -> list[str]:
    """Those folders in a root that may hold what is missing in it, which excludes classes and other parts."""
    likely = [name for name in folders if not (is_class(name) or system_kind(f"{name}/"))]
    return (
        [join(root, name) for name in likely if not _OTHER_PARTS[part].fullmatch(name)] if len(likely) <= _MOST else []
    )


class Places:
    """Folders that are searched for annotations: a root, those above it in a known tree, and those in it.

    Args:
        root: Folder, or a tar with the annotations next to it.
        part: The part that they are of.
    """

    def __init__(self, root: str, part: Part = "val") -> None:
        self._top = parent(root) if is_tar(root) else root
        self._places = [self._top]
        while basename(self._places[-1]) in (part, *_LEVELS):
            self._places.append(parent(self._places[-1]))
        self._listed: dict[str, tuple[list[str], list[str]]] = {}
        self._places += inside(self._top, self._list(self._top)[0], part)

    def files(self, folders: tuple[str, ...], classes: bool = False) -> Iterator[tuple[str, list[str]]]:
        """Each of these folders that has files, in each place, as its uri and the names of the files.

        Args:
            folders: Names of folders.
            classes: Whether files in their class folders count.
        """
        seen = set()
        for place in self._places:
            for folder in folders:
                uri = join(place, folder)
                if uri in seen or (folder and folder.partition("/")[0] not in self._list(place)[0]):
                    continue
                seen.add(uri)
                names = two_levels(uri) if classes else self._list(uri)[1]
                if names:
                    yield uri, names

    def name(self, uri: str) -> str:
        """A short name of something in a place, for messages."""
        return uri.removeprefix(self._top).strip("/") or basename(uri)

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        if folder not in self._listed:
            self._listed[folder] = list_folder(folder)
        return self._listed[folder]
