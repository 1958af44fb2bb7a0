"""The files of the images that an annotation file names, wherever they lie below a folder and however it names them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from stages.errors import DataError
from stages.formats.coco import Options
from stages.formats.coco.layout import Place, words_of
from stages.formats.folder import find_images
from stages.formats.source import Notes
from stages.ingest.paths import join, local_path
from stages.ingest.uris import is_file, walk

_PROBED = 50
_SAME_KIND = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}

Parts = tuple[str, ...]


class _Match(NamedTuple):
    """A file that may be an image: parts of its path that agree from the end, how well its name does, and the path."""

    common: int
    exactness: int
    path: Parts


def find_files(place: Place, options: Options, names: Iterable[str], notes: Notes) -> dict[str, str]:
    """The file of each image, by its name in the annotation file.

    Names are relative to the root, ``images``, the split's folder or that of the annotations, where one of these
    has all images that are tried. Otherwise all images below the root are looked at, and the one whose path has the
    longest end in common with the name is taken: names may begin with folders of another machine, or lack those
    of this one, be Windows paths or uris, and differ in case, Unicode form or extension. Images outside the root are
    taken where the options allow it, and otherwise left out.

    Args:
        place: The annotation file.
        options: Options of the reader.
        names: Names of the images.
        notes: Gets the findings.

    Returns:
        Paths below the root, or absolute local ones. An image that is not there gets the path that it would have
        beside most of the others; one that is left out has none.

    Raises:
        DataError: None of the images is there, or all of them are outside the root.
    """
    names, split = list(dict.fromkeys(names)), options.split
    folder = _folder_of_all(place, split, names)
    if folder is not None:
        return {name: str(PurePosixPath(folder, name)) for name in names}
    found = _matches(names, find_images(walk(place.root)).names, place, split, notes)
    paths = {name: "/".join(match.path) for name, match in found.items()}
    missing = [name for name in names if name not in found]
    outside = {name: path for name in missing if (path := _outside(place.root, name))}
    missing = [name for name in missing if name not in outside]
    if options.allow_outside:
        paths |= outside
    elif outside and not paths:
        raise DataError(
            f"{place.name} names images outside {place.root}, such as {next(iter(outside))}; set data.root to a folder "
            "that has them, or data.allow_outside=true if you trust it"
        )
    else:
        what = "images are outside data.root, and left out; data.allow_outside=true takes them"
        notes.count(what, len(outside), example=next(iter(outside), ""))
    if not paths:
        raise DataError(
            f"{place.name}: none of its images is under {place.root}, such as {names[0]}; "
            "set data.root to a folder that has both"
        )
    notes.count("images are not there", len(missing), example=missing[0] if missing else "")
    usual = Counter((match.path[: -match.common], len(clean(name)) - match.common) for name, match in found.items())
    above, dropped = usual.most_common(1)[0][0] if usual else ((), 0)
    paths |= {name: "/".join([*above, *(clean(name)[dropped:] or clean(name)[-1:])]) for name in missing}
    return paths


def _outside(root: str, name: str) -> str:
    """The file outside a local root that a name means; empty where it means none."""
    folder = local_path(root)
    if folder is None or not (name.startswith("/") or ".." in PurePosixPath(name).parts):
        return ""
    path = os.path.normpath(os.path.join(folder, name))
    return path if not PurePosixPath(path).is_relative_to(os.path.abspath(folder)) and is_file(path) else ""


def clean(name: str) -> Parts:
    """The parts of an image's path, without what only another machine understands.

    >>> clean(r"C:\\data\\a.jpg"), clean("../images//a.jpg"), clean("/data/local-files/?d=sub/a.jpg")
    (('C:', 'data', 'a.jpg'), ('images', 'a.jpg'), ('sub', 'a.jpg'))
    """
    if "?d=" in name:  # Label Studio's local files
        name = name.rpartition("?d=")[2]
    elif "://" in name:
        name = urlsplit(name).path
    return tuple(part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..")) or (name,)


def _folder_of_all(place: Place, split: str, names: list[str]) -> str | None:
    """The folder below the root ("" for the root) that has all images that are tried; None where there is none."""
    if any(name.startswith("/") or ".." in PurePosixPath(name).parts for name in names):
        return None
    probed = names[:: max(1, len(names) // _PROBED)]
    beside = str(PurePosixPath(place.name).parent)
    words = words_of(place.name, split)
    first, year = words[0], words[-1]
    folders = ["", "images", first, f"images/{first}", "" if beside == "." else beside, year, f"images/{year}"]
    for folder in dict.fromkeys(folders):
        if all(is_file(join(join(place.root, folder), name)) for name in probed):
            return folder
    return None


def _matches(names: list[str], files: list[str], place: Place, split: str, notes: Notes) -> dict[str, _Match]:
    """The file of each image that has one; no two images share one."""
    ends: dict[Parts, list[Parts]] = defaultdict(list)
    for file in files:
        path = tuple(file.split("/"))
        for length in (1, 2):
            ends[_loose(path)[-length:]].append(path)
    shared = Counter(_loose(clean(name))[-length:] for name in names for length in range(1, len(clean(name)) + 1))
    best = {name: _best(name, ends, shared) for name in names}
    votes = Counter(match.path[: -match.common] for matches in best.values() for match in matches)
    words, beside = set(words_of(place.name, split)), PurePosixPath(place.name).parent.parts

    def weight(match: _Match) -> tuple[bool, int]:
        """How much speaks for a file: its folder is that of the split or of the annotations; other images are there."""
        folders = match.path[:-1]
        own = bool(words & set(folders)) or bool(beside and folders[: len(beside)] == beside)
        return own, votes[match.path[: -match.common]]

    found: dict[str, _Match] = {}
    taken: set[Parts] = set()
    for name, matches in sorted(best.items(), key=lambda one: [-match.exactness for match in one[1][:1]]):
        free = [match for match in matches if match.path not in taken]
        if free:
            found[name] = max(free, key=weight)
            taken.add(found[name].path)
            equal = [match for match in free if weight(match) == weight(found[name])]
            what = "images are in several places: the first is taken"
            notes.count(what, len(equal) > 1, example=" and ".join("/".join(match.path) for match in equal[:2]))
    renamed = [name for name, match in found.items() if not "/".join(match.path).endswith(name)]
    what = "images are found under another name than in the annotations"
    example = f"{renamed[0]!r} is {'/'.join(found[renamed[0]].path)!r}" if renamed else ""
    notes.count(what, len(renamed), example=example)
    return found


def _best(name: str, ends: dict[Parts, list[Parts]], shared: Counter[Parts]) -> list[_Match]:
    """The files whose paths agree best with a name, in bytewise order; none where other images agree as well."""
    given = clean(name)
    matches: list[_Match] = []
    literal = tuple(name.split("/"))  # Outside Windows a backslash may be part of a name.
    for parts in dict.fromkeys([given, clean(unquote("/".join(given))), literal]):
        own = _loose(parts)
        paths = ends.get(own[-2:], []) or ends.get(own[-1:], [])
        for path in dict.fromkeys(paths):
            other = _loose(path)
            common = next(
                (length for length in range(min(len(own), len(other)), 0, -1) if own[-length:] == other[-length:]), 0
            )
            # The end of a name says which image it is only as far as no other image has the same.
            if common == len(own) or shared[_loose(given)[-common:]] == 1:
                matches.append(_Match(common, _exactness(parts[-1], path[-1]), path))
    top = max((match[:2] for match in matches), default=None)
    return list({match.path: match for match in matches if match[:2] == top}.values())


def _exactness(name: str, file: str) -> int:
    """2 for equal names, 1 for names of one kind of file in another case or Unicode form, 0 for other extensions."""
    kinds = [PurePosixPath(_folded(one)).suffix for one in (name, file)]
    return 2 if name == file else int(_SAME_KIND.get(kinds[0], kinds[0]) == _SAME_KIND.get(kinds[1], kinds[1]))


def _loose(parts: Parts) -> Parts:
    """A path for comparing: no case, one Unicode form, no extension."""
    return *map(_folded, parts[:-1]), PurePosixPath(_folded(parts[-1])).stem


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
