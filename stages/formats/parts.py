"""Parts of a dataset, such as ``train`` and ``val``, and folders that only wrap others, found by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from stages.errors import ConfigurationError
from stages.formats.source import Notes

# In the order in which they are taken where nobody chose one: what a network was trained on comes last.
_KINDS = {
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
    "train": ("train", "training", "trainval"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
_PART = re.compile(rf"(?:(.+)[_.-])?({'|'.join(_KIND_OF)})(?:[_-]?set)?\d*(?:[_.-](.+?)\d*)?", re.IGNORECASE)
# Names of folders that hold the images of a dataset, not of a class, if no other folder has images.
_CONTAINERS = frozenset(("images", "image", "imgs", "img", "jpegimages", "data", "dataset"))


class UndividedError(ConfigurationError):
    """A part is asked for, and the dataset is not divided into parts."""


def parts_among(folders: Iterable[str]) -> dict[str, str]:
    """The folders that are parts of one dataset, each with its kind: ``val``, ``test`` or ``train``.

    Folders are parts if all are called so, or if two kinds of them share whatever else their names have, which
    ``bullet_train`` and ``test_tube`` do not.

    Args:
        folders: Names of all folders that have images.

    >>> parts_among(["train2017", "val2017"]), parts_among(["Train"])
    ({'train2017': 'train', 'val2017': 'val'}, {'Train': 'train'})
    >>> parts_among(["seg_test", "seg_train", "seg_pred"])
    {'seg_test': 'test', 'seg_train': 'train'}
    >>> parts_among(["train.X1", "train.X2", "val.X"])
    {'train.X1': 'train', 'train.X2': 'train', 'val.X': 'val'}
    >>> parts_among(["bus", "train"]), parts_among(["bullet_train", "test_tube"])
    ({}, {})
    """
    names = list(folders)
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in names:
        if found := _PART.fullmatch(name):
            before, word, behind = found.groups(default="")
            groups[before.lower(), behind.lower()][name] = _KIND_OF[word.lower()]
    for rest, kinds in sorted(groups.items(), key=lambda group: -len(group[1])):
        if len(set(kinds.values())) > 1 or (rest == ("", "") and len(kinds) == len(names)):
            return kinds
    return {}


def candidates(root: str, folders: list[str], split: str) -> list[str]:
    """The part that a split names; where the default names none, all parts, the preferred one first.

    Args:
        root: For errors.
        folders: Names of the folders that have images.
        split: Name of a folder, or a word for a kind of part, such as ``valid``.

    Returns:
        Names of folders; empty where there are no parts and the default asked for one.

    Raises:
        ConfigurationError: There is no such part; an :class:`UndividedError` where there are none at all.
    """
    if split in folders:
        return [split]
    kinds = parts_among(folders)
    order = list(_KINDS)
    named = [name for name, kind in kinds.items() if kind == _KIND_OF.get(split.lower())]
    if named or split == "val":
        return named[:1] or sorted(kinds, key=lambda name: order.index(kinds[name]))
    if not kinds:
        message = f"{root} has no part {split!r}; it is not divided into parts, so leave this key out"
        raise UndividedError(message, about="split")
    raise ConfigurationError(f"{root} has no part {split!r}; it has {', '.join(kinds)}", about="split")


def unwrapped(names: list[str], prefix: str, split: str) -> str:
    """The folder below which parts or classes begin.

    Args:
        names: Relative names of all images.
        prefix: Folder to begin with: empty, or with a slash at its end.
        split: A folder of this name is never passed.

    Returns:
        The folder as a prefix of names.
    """
    while True:
        below = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        top = next((name.partition("/")[0] for name in below if "/" in name), None)
        if top is None or top == split or parts_among([top]):
            return prefix
        if any("/" in name and not name.startswith(f"{top}/") for name in below):
            return prefix
        inner = {name.split("/")[1] for name in below if name.count("/") > 1}
        wraps = top == prefix.rstrip("/").rpartition("/")[2] or bool(parts_among(inner))
        if top.lower() not in _CONTAINERS and not (wraps and all("/" in name for name in below)):
            return prefix
        prefix = f"{prefix}{top}/"


def tops(names: list[str], prefix: str) -> list[str]:
    """The folders directly below a folder that have files.

    Args:
        names: Relative names of files.
        prefix: The folder as a prefix of names.
    """
    below = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return list(dict.fromkeys(name.partition("/")[0] for name in below if "/" in name))


def is_container(prefix: str) -> bool:
    """Whether a folder is one such as ``images``, whose sub-folders need not be classes."""
    return prefix.rstrip("/").rpartition("/")[2].lower() in _CONTAINERS


def note_part(notes: Notes, taken: str, folders: list[str]) -> None:
    """Say which part is taken, and what the others are called."""
    others = sorted(name for name in parts_among({*folders, taken}) if name != taken)
    note_taken(notes, f"the images of {taken}/ are", others)


def note_taken(notes: Notes, subject: str, others: Iterable[str]) -> None:
    """Say what is taken, and which parts are there besides.

    Args:
        notes: Told so.
        subject: What is taken, with its verb: ``the images of train/ are``.
        others: Names of the other parts.
    """
    also = " or ".join(others)
    notes.say(f"{subject} taken" + (f"; data.split takes {also}" if also else ""))
