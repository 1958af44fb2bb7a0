"""The lists of images in ``ImageSets/Main``."""

from __future__ import annotations

import re
from collections.abc import Container

from stages.errors import ConfigurationError
from stages.formats.delimited import text_of
from stages.formats.parts import note_taken
from stages.formats.source import Notes
from stages.formats.voc import Options
from stages.formats.voc.layout import composed
from stages.ingest.paths import join

_FLAG = re.compile(r"\s+(-?[01])$")
_ORDER = ("val", "test", "trainval", "train")


def find_set(root: str, folder: str, names: list[str], split: str, notes: Notes) -> str | None:
    """The list of a part, as the name of its file; None where there are no lists.

    Args:
        root: The root, for messages.
        folder: The folder of the lists, relative to it, with a slash at the end.
        names: Names of all files below the root.
        split: The part.
        notes: Told which part is taken, where it is not the one that was asked for.

    Raises:
        ConfigurationError: There is no such part.
    """
    lists = [name.removeprefix(folder) for name in names if name.startswith(folder) and name.endswith(".txt")]
    stems = [name.removesuffix(".txt") for name in lists if "/" not in name]
    # A list of a class is called after it and a part.
    parts = [one for one in stems if not any(one.endswith(f"_{other}") for other in stems)]
    if split in parts:
        return f"{folder}{split}.txt"
    if not parts:
        return None
    if split != Options.split:
        raise ConfigurationError(f"{join(root, folder)} has no {split}.txt; it has {', '.join(parts)}", about="split")
    chosen = next((one for one in _ORDER if one in parts), parts[0])
    others = [one for one in parts if one != chosen]
    note_taken(notes, f"the images of {chosen}.txt are", others)
    return f"{folder}{chosen}.txt"


def stems_of(uri: str, known: Container[str], notes: Notes) -> list[str]:
    """The images of a list, by name without extension, each once.

    Args:
        uri: The list.
        known: Names of images, which may end as the flags do that stand behind names in some lists.
        notes: Told of repeated lines.
    """
    lines = (line.strip() for line in composed(text_of(uri, notes)).splitlines())
    found = [line if line in known else _FLAG.sub("", line) for line in lines if line]
    stems = list(dict.fromkeys(found))
    notes.count(f"lines of {uri.rpartition('/')[2]} are repeated: they count once", len(found) - len(stems))
    return stems


def classes_of(root: str, chosen: str, names: list[str], notes: Notes) -> dict[str, list[str]]:
    """Classes by image, of the lists ``CLASS_PART.txt`` beside that of the part."""
    folder, _, part = chosen.removesuffix(".txt").rpartition("/")
    of: dict[str, list[str]] = {}
    for name in names:
        if not (name.startswith(f"{folder}/") and name.endswith(f"_{part}.txt")):
            continue
        label = name.removeprefix(f"{folder}/").removesuffix(f"_{part}.txt")
        for line in composed(text_of(join(root, name), notes)).splitlines():
            flag = _FLAG.search(line.rstrip())
            if flag and flag[1] != "-1":
                of.setdefault(_FLAG.sub("", line.strip()), []).append(label)
    return of
