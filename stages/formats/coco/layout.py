"""Which file of a folder has the annotations of a split, however the folder was exported."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from stages.errors import DataError
from stages.formats.coco.file import ENDINGS
from stages.formats.content import UnpackError, content_of
from stages.formats.folder import require_folder
from stages.formats.source import Notes
from stages.formats.system_files import system_kind
from stages.ingest.paths import basename, join, parent
from stages.ingest.uris import is_file, is_folder, list_folder

_OF_ANNOTATIONS = re.compile(r"annotations?|labels", re.IGNORECASE)
"""Folders beside those of the images, not above them."""
_SYNONYMS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
_DATASET = re.compile(rb'[\xef\xbb\xbf\s]*\{.*"images"\s*:\s*\[', re.DOTALL)
_DEPTH = 2
_READ = 20
"""Number of files up to which their contents are looked at."""


class Place(NamedTuple):
    """An annotation file.

    Attributes:
        root: Local path or uri of the folder that its images are in or below.
        name: Its path below that folder.
    """

    root: str
    name: str


def find_annotations(root: str, split: str, notes: Notes) -> Place:
    """The annotation file of a split.

    ``annotations.json``, ``annotations/instances_SPLIT.json``, ``_annotations.coco.json``,
    ``SPLIT/_annotations.coco.json`` or ``SPLIT.json`` where there is one. Otherwise all JSON files down to the
    second level are looked at: those whose name or folder has the split, or a synonym or a year of it, come before
    others, and those named ``instances`` before those of keypoints, captions and the like. The only one is taken.

    Args:
        root: The folder, or the annotation file itself, which may be compressed by gzip.
        split: Name of the split.
        notes: Gets a line where the file is that of another split.

    Raises:
        DataError: There is no folder or no annotation file, or several that cannot be told apart.
    """
    name = basename(root)
    if name.lower().endswith(ENDINGS) and not is_folder(root):
        if not is_file(root):
            raise DataError(f"no annotation file {root}", about="root")
        folder = parent(root)
        above = basename(folder)
        return Place(parent(folder), f"{above}/{name}") if _OF_ANNOTATIONS.fullmatch(above) else Place(folder, name)
    require_folder(root)
    usual = [
        "annotations.json",
        f"annotations/instances_{split}.json",
        "_annotations.coco.json",
        f"{split}/_annotations.coco.json",
        f"{split}.json",
    ]
    for name in usual:
        if is_file(join(root, name)):
            return Place(root, name)
    names = _json_files(root)
    if not names:
        raise DataError(f"{root} has no annotation file; set data.root to the file itself", about="root")
    found = _of_split(root, names, split)
    if len(found) > 1:
        raise DataError(
            f"{root} has several annotation files: {', '.join(found[:5])}; choose one by "
            f"{', '.join(_option(root, names, name) for name in found[:5])}",
            about="root",
        )
    if not _has_split(found[0], split) and any(_has_split(found[0], words[0]) for words in _SYNONYMS):
        notes.say(f"the annotations are those of {found[0]}: there are none of {split}")
    return Place(root, found[0])


def words_of(name: str, split: str) -> list[str]:
    """Names that the folder of a file's images may have; those of its own split where that is another one.

    >>> words_of("annotations/instances_val2017.json", "val")
    ['val', 'valid', 'validation', 'val2017']
    >>> words_of("train.json", "val")
    ['train', 'training']
    """
    own = [words for words in _SYNONYMS if _has_split(name, words[0])]
    words = [split, *_synonyms(split)] if _has_split(name, split) or not own else own[0]
    return list(dict.fromkeys([*words, re.split(r"[_.\s]", _stem(name))[-1]]))


def _json_files(root: str) -> list[str]:
    """JSON files of the first level that has any below the root; the root's own and those one level down are one."""
    found: list[str] = []
    level = [""]
    for depth in range(_DEPTH + 1):
        below: list[str] = []
        for folder in level:
            folders, files = list_folder(join(root, folder))
            prefix = f"{folder}/" if folder else ""
            found += [prefix + name for name in files if name.lower().endswith(ENDINGS) and name[0] != "."]
            below += [prefix + name for name in folders if not system_kind(f"{name}/")]
        if found and depth:
            break
        level = below
    return found


def _of_split(root: str, names: list[str], split: str) -> list[str]:
    """The best of several files; more than one where they are equally good."""
    preferences: list[Callable[[str], bool]] = [
        lambda name: _has_split(name, split),
        lambda name: _stem(name).lower().startswith("instances"),
        lambda name: len(names) <= _READ and _is_dataset(join(root, name)),
        lambda name: _ends_in_split(name, split),
    ]
    found = names
    for preferred in preferences:
        if len(found) > 1:
            found = [name for name in found if preferred(name)] or found
    return found


def _has_split(name: str, split: str) -> bool:
    words = "|".join(map(re.escape, _synonyms(split)))
    word = re.compile(rf"(^|[_.\s-])({words})\d*($|[_.\s-])", re.IGNORECASE)
    return any(map(word.search, [*_parts(name)[:-1], _stem(name)]))


def _ends_in_split(name: str, split: str) -> bool:
    words = "|".join(map(re.escape, _synonyms(split)))
    return bool(re.search(rf"(^|[_.\s])({words})\d*$", _stem(name), re.IGNORECASE))


def _synonyms(split: str) -> tuple[str, ...]:
    return next((words for words in _SYNONYMS if split in words), (split,))


def _is_dataset(uri: str) -> bool:
    """Whether a file seems to be a COCO dataset of boxes: an object with images, which results lists are not."""
    try:
        data = content_of(uri)
    except (OSError, UnpackError):
        return False
    return bool(_DATASET.match(data)) and b'"segments_info"' not in data


def _option(root: str, names: list[str], name: str) -> str:
    """What to write in order to choose a file."""
    splits = [re.split(r"[_.\s]", _stem(name))[-1], *_parts(name)[:-1], _stem(name)]
    for split in splits:
        if re.fullmatch(r"[\w-]+", split) and _of_split(root, names, split) == [name]:
            return f"data.split={split}"
    return shlex.quote(f"data.root={join(root, name)}")


def _stem(name: str) -> str:
    return _parts(name)[-1].removesuffix(".gz").removesuffix(".json")


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts
