"""The command for somebody who names data or a run where a configuration belongs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from stages.errors import DataError
from stages.ingest.paths import join, local_path
from stages.ingest.uris import SCHEMES, is_file, is_folder, list_folder

_FOLDERS_SEEN = 20
_FORMATS = {".json": "coco", ".parquet": "parquet", ".tar": "imagenet-val"}


def command_for(name: str, others: Iterable[object]) -> str | None:
    """The command that reads a folder, an image, a pattern, a list or an annotation file, or resumes a run.

    Args:
        name: Path or uri that somebody named.
        others: What else they wrote: overrides, and more images where the shell expanded a pattern. Only words of
            a command line count.

    Returns:
        The whole command for a shell; None where the name is not that of any data.
    """
    words = [] if isinstance(others, Mapping) else [other for other in others if isinstance(other, str)]
    overrides, images = ([word for word in words if ("=" in word) == kind] for kind in (True, False))
    root = _pattern([name, *images]) if images else name
    if local_path(name) is not None and is_file(join(name, "run.json")):
        what = [join(name, "config.yaml"), *overrides, "--out", name]
    elif configuration := _configuration(name):
        what = [configuration, f"data.root={root}", *overrides]
    else:
        return None
    return shlex.join(["wsl-pipeline", "run", *what])


def _pattern(names: list[str]) -> str:
    """A pattern that the images fit."""
    folders, endings = {os.path.dirname(name) for name in names}, {os.path.splitext(name)[1] for name in names}
    ending = endings.pop() if len(endings) == 1 else ""
    if len(folders) == 1:
        return os.path.join(*folders, f"*{ending}")
    return os.path.join(os.path.commonpath(map(os.path.abspath, folders)), "**", f"*{ending}")


def _configuration(name: str) -> str | None:
    """The shipped configuration for what is there; None where nothing is, and stores are not asked."""
    from stages.formats.imagefolder.selection import LISTS, check_picture, is_pattern
    from stages.formats.tables import SUFFIXES

    if local_path(name) is None:
        return "imagefolder" if name.lower().startswith(tuple(SCHEMES)) else None
    if is_folder(name):
        return _by_names(_entries(name)) or "imagefolder"
    if not is_file(name):
        return "imagefolder" if is_pattern(name) else None
    ending = os.path.splitext(name)[1].lower()
    if ending in _FORMATS:
        return _FORMATS[ending]
    if ending not in (*LISTS, *SUFFIXES):
        try:
            check_picture(name)
        except DataError:
            return None
    return "imagefolder"


def _entries(folder: str) -> Iterator[str]:
    """Names in a folder and in its first sub-folders, as far as they can be read."""
    with suppress(OSError):
        folders, files = list_folder(folder)
        yield from (*folders, *files)
        for inner in islice(folders, _FOLDERS_SEEN):
            with suppress(OSError):
                yield from list_folder(join(folder, inner))[1]


def _by_names(names: Iterable[str]) -> str | None:
    """The configuration for the names of files and folders that are particular to it."""
    seen = set()
    for name in names:
        seen.add(name)
        if name.startswith(("ILSVRC", "LOC_val_solution")):
            return "imagenet-val"
        if name.lower().endswith(".json") and ("annotations" in name or name.startswith("instances_")):
            return "coco"
        if name.lower().endswith((".parquet", ".tar")):
            return "parquet" if name.lower().endswith(".parquet") else "webdataset"
    if "VOCdevkit" in seen or {"Annotations", "JPEGImages"} <= seen:
        return "voc"
    return "yolo" if "data.yaml" in seen or {"images", "labels"} <= seen else None
