"""Files beside shards that name the classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from stages.formats.delimited import text_of
from stages.formats.samples import MOST_CLASSES
from stages.formats.shards import Shard
from stages.formats.source import Notes
from stages.ingest.paths import join, parent
from stages.ingest.uris import is_folder, list_folder

_CLASS_FILES = ("classes.txt", "classes.json")


def class_names(root: str, shards: Sequence[Shard], notes: Notes) -> list[str]:
    """The names of the classes by their number, where ``classes.txt`` or ``classes.json`` beside the shards says them.

    Args:
        root: Folder of the shards, or what names them.
        shards: The shards.
        notes: Told where such a file holds anything else.
    """
    for folder in dict.fromkeys([*([root] if is_folder(root) else []), *(parent(one.uri) for one in shards)]):
        for name in list_folder(folder)[1]:
            if name.lower() not in _CLASS_FILES:
                continue
            text = text_of(join(folder, name), notes)
            names = _json_names(text) if name.lower().endswith(".json") else text.strip("\r\n").splitlines()
            if names is not None:
                return _apart([one.strip() for one in names])
            notes.say(f"{name} holds neither a list of names nor names by number: it is left out")
    return []


def _json_names(text: str) -> list[str] | None:
    """Names as a list, by number, or with their numbers; None where they are anything else."""
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, list) and all(isinstance(one, dict) and {"id", "name"} <= one.keys() for one in content):
        content = {one["id"]: one["name"] for one in content}
    if isinstance(content, list):
        return [str(one) for one in content]
    if not isinstance(content, dict):
        return None
    if all(type(one) is int for one in content.values()):
        content = {number: name for name, number in content.items()}
    try:
        numbers = {int(number): str(name) for number, name in content.items()}
    except (TypeError, ValueError):
        return None
    if not numbers or min(numbers) < 0 or max(numbers) > MOST_CLASSES:
        return None
    return [numbers.get(number, str(number)) for number in range(max(numbers) + 1)]


def _apart(names: list[str]) -> list[str]:
    """Names of which each stands once: one that repeats another, or is empty, gets its number."""
    first = {name: at for at, name in reversed(list(enumerate(names)))}
    return [one if one and first[one] == at else f"{one} ({at})".strip() for at, one in enumerate(names)]
