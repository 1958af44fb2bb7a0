"""The files of images that a list names relative to some folder, which need not be the one that the user names."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from stages.formats.source import Notes
from stages.ingest.paths import basename


def find_named(root: str, files: Iterable[str], names: Sequence[str], kind: str, notes: Notes) -> dict[str, str]:
    """The file of each name: the one below the root whose path ends with it.

    Args:
        root: The folder that was searched, whose own name may be the beginning of names.
        files: Relative names of the files in it, in the order in which they are preferred.
        names: Relative names, such as ``001.Albatross/a.jpg``.
        kind: What they are, for notes.
        notes: Told of names that no file or several files have.

    Returns:
        Relative name of a file by name. A name that no file has gets the one that it would have beside most of the
        others; it is always below the root.
    """
    wanted = {_comparable(name): name for name in names}
    found: dict[str, list[str]] = {}
    above: Counter[str] = Counter()
    for file in files:
        path = _comparable(f"{basename(root)}/{file}")
        at = 0
        while path[at:] not in wanted and "/" in path[at:]:
            at = path.index("/", at) + 1
        if name := wanted.get(path[at:]):
            found.setdefault(name, []).append(file)
            above[path[:at].partition("/")[2]] += 1
    missing = [name for name in names if name not in found]
    several = next((own for own in found.values() if len(own) > 1), [])
    notes.count(f"{kind} are not under {root}", len(missing), example=missing[0] if missing else "")
    notes.count(
        f"{kind} are in several places: the first is taken",
        sum(len(own) > 1 for own in found.values()),
        example=" and ".join(several[:2]),
    )
    usual = above.most_common(1)[0][0] if above else ""
    return {name: found[name][0] if name in found else usual + _below(name) for name in names}


def _comparable(name: str) -> str:
    """A name in Unicode's composed form: file systems of macOS decompose names."""
    return unicodedata.normalize("NFC", name)


def _below(name: str) -> str:
    """A relative name that leads to no other folder."""
    return "/".join(part for part in PurePosixPath(name).parts if part not in ("/", ".."))
