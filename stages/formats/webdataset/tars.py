"""The samples of tar shards: neighbouring members with one key, each of another extension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from posixpath import basename, splitext

from stages.errors import DataError, StorageError
from stages.formats.shards import Shard
from stages.formats.source import Notes
from stages.formats.system_files import system_kind
from stages.ingest.image_formats import EXTENSIONS
from stages.ingest.tar import Member, each_member
from stages.printable import is_storable

FACTS = (".cls", ".json", ".txt")
"""Extensions of what is said about an image, in the order in which they decide."""

_MOST = 4 << 20
"""Most bytes of such a member."""
_SHARDS = 8
"""Shards that are read at a time: mostly waits for an object store."""


@dataclass(slots=True)
class Group:
    """Neighbouring members with one key.

    Attributes:
        shard: The shard that they are in.
        key: Path of all up to the first dot of the file name.
        members: Each by its extension, in lower case and with all dots.
    """

    shard: Shard
    key: str
    members: dict[str, Member] = field(default_factory=dict)


def groups_of(shards: Sequence[Shard], notes: Notes) -> Iterator[Group]:
    """All groups in order. A shard that cannot be read to its end costs what follows.

    Raises:
        StorageError: The disk or store does not answer.
    """
    with ThreadPoolExecutor(_SHARDS) as pool:
        for start in range(0, len(shards), _SHARDS):
            some = shards[start : start + _SHARDS]
            for shard, (members, error) in zip(some, pool.map(_members, some), strict=True):
                what = "shards cannot be read, or not to their end: what follows is left out"
                notes.count(what, bool(error), example=error)
                yield from _groups(shard, members, notes)


def images_of(group: Group, notes: Notes) -> Iterator[tuple[str, dict[str, Member]]]:
    """The images of a group: the extension of each, and what is said about it by :data:`FACTS`.

    A group is one sample. Its image is the one whose extension has fewest dots. Only where names have dots before the
    extension, and each such name has an image and something about it, they are samples of their own.
    """
    stems: dict[str, dict[str, str]] = {}
    for extension in group.members:
        stem, suffix = _apart(extension)
        stems.setdefault(stem, {})[suffix] = extension
    whole = [stem for stem, own in stems.items() if EXTENSIONS & own.keys() and own.keys() & set(FACTS)]
    apart = whole if len(stems) > 1 and len(whole) == len(stems) else [""]
    for stem in apart:
        own = {extension: one for extension, one in group.members.items() if _apart(extension)[0].startswith(stem)}
        images = [extension for extension in own if _apart(extension)[1] in EXTENSIONS]
        images.sort(key=lambda extension: extension.count("."))
        if not images:
            notes.count("samples have no image: left out", example=f"{group.key} in {basename(group.shard.name)}")
            continue
        notes.count("samples have several images: one is taken", len(images) > 1, example=f"{group.key}{images[0]}")
        facts = {_apart(extension)[1]: one for extension, one in reversed(own.items())}
        yield images[0], {suffix: facts[suffix] for suffix in FACTS if suffix in facts}


def _apart(extension: str) -> tuple[str, str]:
    """The part of an extension before its last dot, and the rest.

    >>> _apart(".jpg"), _apart(".v1.jpg")
    (('', '.jpg'), ('.v1', '.jpg'))
    """
    stem, suffix = splitext(f"_{extension}")
    return stem[1:], suffix


def _members(shard: Shard) -> tuple[list[Member], str]:
    """The members of a shard as far as they can be read, and what ended that."""
    found: list[Member] = []
    try:
        for member in each_member(shard.uri, lambda name, size: name.lower().endswith(FACTS) and size <= _MOST):
            found.append(member)
    except StorageError:
        raise
    except DataError as error:
        return found, str(error)
    return found, ""


def _groups(shard: Shard, members: list[Member], notes: Notes) -> Iterator[Group]:
    group, seen = Group(shard, ""), set[str]()
    for member in members:
        folder, slash, name = member.name.rpartition("/")
        stem, dot, extension = name.partition(".")
        if not member.uri or not is_storable(member.name):
            notes.count("members left out: links, or names that lead outside or are not in UTF-8", example=repr(name))
        elif not (stem and dot) or name.startswith("__") or system_kind(member.name):
            notes.count("members are no part of a sample: left out", example=member.name)
        else:
            key = f"{folder}{slash}{stem}"
            if key != group.key:
                if group.members:
                    yield group
                group = Group(shard, key)
                what = "samples have the key of an earlier one, from which others part them"
                notes.count(what, key in seen, example=key)
                seen.add(key)
            extension = f".{extension.lower()}"
            if extension in group.members:
                notes.count("members repeat an extension of their sample: the first is taken", example=member.name)
            group.members.setdefault(extension, member)
    if group.members:
        yield group
