"""The files of a dataset that is divided into shards: those of a folder, of a pattern, or a single one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stages.errors import ConfigurationError, DataError
from stages.formats.folder import require_folder
from stages.formats.imagefolder.selection import is_pattern, matching
from stages.formats.parts import candidates, note_taken, parts_among
from stages.formats.source import Notes
from stages.formats.system_files import system_kind
from stages.ingest.paths import basename, join, parent
from stages.ingest.uris import is_file, is_folder, walk

DEFAULT_SPLIT = "val"
"""Takes the part ``val``, else ``test``, else ``train``; all shards where they are not divided into parts."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 1_000_000
# What follows the name of a part: a number, that of all shards, a fingerprint.
_NUMBER = re.compile(r"(?:(?:^|[-_.])\d+(?:[-_.]of[-_.]\d+)?)(?:-[0-9a-f]{8,})?$|(?<=\D)\d+$")


class Shard(NamedTuple):
    """A file of a dataset.

    Attributes:
        uri: Where it is.
        name: Its POSIX path relative to the folder of all, without the extension of its kind.
    """

    uri: str
    name: str


def find_shards(root: str, suffixes: Sequence[str], split: str, kind: str, notes: Notes) -> list[Shard]:
    """The shards that a root names, in bytewise order of their names, or as a pattern with braces has them.

    In a folder and those below it, the parts are told by the names of the shards (``train-00000-of-00012``), or else by
    those of their folders.

    Args:
        root: Local path or uri of a folder, of one shard, or with ``{000000..000011}``, ``{a,b}`` or wildcards in it.
        suffixes: Extensions of the shards, in lower case.
        split: The part to take.
        kind: What they are, for messages.
        notes: Told which part is taken, and of what is not there.

    Raises:
        ConfigurationError: There is no such part.
        DataError: There are no shards.
    """
    if is_folder(root):
        found = [name for name in walk(root) if _suffix(name, suffixes) and not system_kind(name)]
        if not found:
            raise DataError(f"no {kind} under {root} ({', '.join(suffixes)})", about="root")
        return [_shard(root, name, suffixes) for name in _part(root, found, split, notes)]
    if split != DEFAULT_SPLIT:
        raise ConfigurationError(f"{root} is no folder and names its files itself; leave this key out", about="split")
    if is_file(root):
        return [_shard(parent(root), basename(root), suffixes)]
    if _BRACES.search(root):
        folder, pattern = _before_braces(root)
        names = _expanded(pattern)
        found = [name for name in names if is_file(join(folder, name))]
        absent = sorted({*names}.difference(found))
        notes.count(f"{kind} of {basename(root)} are not there: left out", len(absent), example="".join(absent[:1]))
    elif is_pattern(root):
        folder, found = matching(root)
    else:
        require_folder(root)
    if not found:
        raise DataError(f"no file matches {root}", about="root")
    return [_shard(folder, name, suffixes) for name in found]


def _suffix(name: str, suffixes: Sequence[str]) -> str:
    return next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")


def _shard(folder: str, name: str, suffixes: Sequence[str]) -> Shard:
    return Shard(join(folder, name), name[: len(name) - len(_suffix(name, suffixes))])


def _part(root: str, names: list[str], split: str, notes: Notes) -> list[str]:
    """The shards of one part."""
    ways: list[Callable[[str], str]] = [_stem, *(_folder_above(up) for up in (1, 2))]
    groups = [[way(name) for name in names] for way in ways]
    chosen = next((own for own in groups if split in own or parts_among(own)), groups[0])
    parts = candidates(root, list(dict.fromkeys(one for one in chosen if one)), split)
    if not parts:
        return names
    others = sorted(one for one in parts_among(chosen) if one != parts[0])
    note_taken(notes, f"the part {parts[0]} is", others)
    return [name for name, group in zip(names, chosen, strict=True) if group == parts[0]]


def _stem(name: str) -> str:
    """What the name of a shard begins with.

    >>> [_stem(f"{name}.parquet") for name in ("data/train-00000-of-00012-a09b74b3ef9c3b56", "val_03", "val", "0000")]
    ['train', 'val', 'val', '']
    """
    return _NUMBER.sub("", basename(name).partition(".")[0])


def _folder_above(up: int) -> Callable[[str], str]:
    """Function from a path to the name of the folder so many levels above it."""
    return lambda name: "".join(name.split("/")[-1 - up : -up])


def _before_braces(root: str) -> tuple[str, str]:
    """The folder above all braces, and what follows."""
    folder, pattern = parent(root), basename(root)
    while _BRACES.search(folder):
        folder, pattern = parent(folder), f"{basename(folder)}/{pattern}"
    return folder, pattern


def _expanded(pattern: str) -> list[str]:
    """All names that a pattern with braces stands for.

    >>> _expanded("a-{08..10}.tar"), _expanded("{x,y}{1..2}")
    (['a-08.tar', 'a-09.tar', 'a-10.tar'], ['x1', 'x2', 'y1', 'y2'])

    Raises:
        DataError: They are too many.
    """
    texts, choices = _BRACES.split(pattern)[::2], [_choices(inside) for inside in _BRACES.findall(pattern)]
    count = 1
    for one in choices:
        count *= len(one)
    if count > _MOST:
        raise DataError(f"{pattern} stands for {count:,} files; at most {_MOST:,} are read", about="root")
    return [texts[0] + "".join(map("".join, zip(one, texts[1:], strict=True))) for one in itertools.product(*choices)]


def _choices(inside: str) -> Sequence[str]:
    found = _RANGE.fullmatch(inside)
    if not found:
        return inside.split(",")
    first, last = found.groups()
    width = len(first) if first.startswith("0") else 0
    numbers = range(int(first), int(last) + 1)
    return [str(number).zfill(width) for number in numbers[: _MOST + 1]]
