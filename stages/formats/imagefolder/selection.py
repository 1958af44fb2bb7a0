"""Images that a root names one by one: a single file, a pattern such as ``pictures/*.jpg``, a list file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import filter as matching_names
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from stages.errors import DataError
from stages.formats.delimited import text_of
from stages.formats.folder import find_images
from stages.formats.source import Notes
from stages.formats.tables import SUFFIXES, ImageNames, merged
from stages.ingest.children import each
from stages.ingest.image_formats import EXTENSIONS
from stages.ingest.paths import basename, join, local_path, parent
from stages.ingest.uris import is_folder, list_folder, walk

LISTS = (".txt", ".lst", ".list")
"""Extensions of list files."""

# An image, and behind it the label, if any. Names may have blanks and commas in them.
_SUFFIX = "|".join(re.escape(suffix) for suffix in EXTENSIONS)
_LINE = re.compile(rf"""["']?(.*(?:{_SUFFIX}))["']?(?:\s*[,;\s]\s*(.*))?""", re.IGNORECASE)


# Four numbers behind a class.
_BOX = re.compile(r"(?<=\S)(?:\s*[,;\s]\s*-?\d+(?:\.\d+)?){4}$")


def is_pattern(root: str) -> bool:
    """Whether a path or uri has wildcards."""
    return any(mark in _path(root) for mark in "*?[")


def matching(root: str) -> tuple[str, list[str]]:
    """The files that match a pattern; ``**`` stands for any number of folders, and a folder for all files below it.

    Args:
        root: Path or uri with wildcards.

    Returns:
        The folder before the first wildcard, and names relative to it in bytewise order.

    Raises:
        DataError: There is no such folder.
    """
    pattern: list[str] = []
    while is_pattern(root) and not is_folder(root):
        pattern.insert(0, basename(root))
        root = parent(root)
    if not is_folder(root):
        raise DataError(f"no folder {root}; name the one that the images are in", about="root")
    return root, sorted(set(_matching(root, "", pattern)), key=os.fsencode)


def check_picture(uri: str) -> None:
    """See that a file is an image, whatever its extension; one that is called so may be broken.

    Raises:
        DataError: It is none.
    """
    if PurePosixPath(basename(uri)).suffix.lower() in EXTENSIONS:
        return
    path = local_path(uri)
    (seems,) = each("stages.ingest.header:seems_an_image", [uri if path is None else os.path.abspath(path)])
    if not seems:  # Of an image that is broken, a run says what is wrong with it.
        known = ", ".join((*LISTS, *SUFFIXES))
        raise DataError(
            f"{uri} is neither an image nor a list of images ({known}); name a folder, an image or a list",
            about="root",
        )


def listed(uri: str, notes: Notes) -> list[tuple[str, str, tuple[str, ...]]]:
    """Read a list file: an image a line, with a class or its number behind it or without.

    An image is relative to the file, or where it is not there, anywhere below, if only one fits.

    Args:
        uri: Path or uri of the list.
        notes: Receives the lines that name no image.

    Returns:
        Uri, name and labels of each image, in the order of the list; those of its lines, without boxes behind them. The
        name is relative to the folder of the list, or to the top where the image is
        elsewhere.
    """
    name, folder = basename(uri), parent(uri)
    files = cache(lambda place: frozenset(list_folder(place)[1]))
    pairs: list[tuple[str, list[str]]] = []
    below: ImageNames | None = None
    for line in filter(str.strip, text_of(uri, notes).split("\n")):
        found = _LINE.fullmatch(line.strip())
        if found is None:
            notes.count(f"lines of {name} name no image: left out", example=line.strip())
            continue
        place = _place(folder, found[1].replace("\\", "/"))
        if basename(place) not in files(parent(place)):
            below = below or ImageNames(find_images(walk(folder)).names)
            elsewhere = below.find(found[1])
            if elsewhere is None:
                notes.count(f"images of {name} are not there: left out", example=found[1])
                continue
            notes.count(f"images of {name} are in folders below it", example=elsewhere)
            place = join(folder, elsewhere)
        label = _BOX.sub("", (found[2] or "").strip()).strip("\"'")
        pairs.append((place, [label] if label else []))
    base = _path(folder).rstrip("/") + "/"
    labels_of = merged(pairs, name, notes)
    return [(place, _path(place).removeprefix(base).lstrip("/"), labels) for place, labels in labels_of.items()]


def _place(folder: str, name: str) -> str:
    """The uri that a line of a list means."""
    if local_path(name) is None:
        return name
    if local_path(folder) is None:
        return join(folder, os.path.normpath(name))
    return os.path.normpath(join(folder, local_path(name) or name))


def _path(root: str) -> str:
    local = local_path(root)
    return unquote(urlsplit(root).path) if local is None else local


def _matching(base: str, prefix: str, pattern: list[str]) -> Iterator[str]:
    """Names of the files below ``prefix`` that match."""
    if not pattern or pattern[0] == "**":
        for name in walk(join(base, prefix)):
            if _fits(name.split("/"), pattern):
                yield prefix + name
        return
    folders, files = list_folder(join(base, prefix))
    for name in matching_names(folders, pattern[0]):
        yield from _matching(base, f"{prefix}{name}/", pattern[1:])
    if len(pattern) == 1:
        yield from (prefix + name for name in matching_names(files, pattern[0]))


def _fits(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return True
    head, *rest = pattern
    if head == "**":
        return any(_fits(parts[start:], rest) for start in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], head) and _fits(parts[1:], rest)
