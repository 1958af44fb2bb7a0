"""Reader of images in class folders, or in one folder without classes."""

from __future__ import annotations

from collections.abc import Iterator

from stages.formats.folder import class_info, find_images, require_folder
from stages.formats.imagefolder import Options
from stages.formats.source import Notes, Source
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.uris import is_folder, list_folder, walk


def read(root: str, options: Options) -> Source:
    """Read ``root/SPLIT/<class>/**``, ``root/<class>/**`` or the images of a flat folder.

    The classes are the folders in bytewise order of their names, including those without images. The id of an
    image is the rank of its name, from 1, in bytewise order.

    Args:
        root: Local path or uri of the folder.
        options: The part to read.

    Raises:
        DataError: The root is missing or has no images.
    """
    require_folder(root)
    split = options.split
    prefix = f"{split}/" if split and is_folder(join(root, split)) else ""
    base = join(root, split) if prefix else root
    found = find_images(walk(base))
    found.require(base)
    folders = [name for name in list_folder(base)[0] if not name.startswith(".") and name != "__MACOSX"]
    used = {_class_of(name) for name in found.names} - {""}
    classes = folders if used else []
    loose = sum(not _class_of(name) for name in found.names) if classes else 0
    notes = Notes()
    notes.say(found.skipped_line())
    _note_oddities(notes, classes, used, loose)
    return Source([class_info(name) for name in classes], _records(base, prefix, found.names, classes), notes)


def _records(base: str, prefix: str, names: list[str], classes: list[str]) -> Iterator[ImageRecord]:
    label = {name: index for index, name in enumerate(classes)}
    for rank, name in enumerate(names, start=1):
        own = _class_of(name)
        yield ImageRecord(rank, join(base, name), prefix + name, label[own] if own else -1)


def _class_of(name: str) -> str:
    """The class folder of an image; empty where it is in none."""
    return name.partition("/")[0] if "/" in name else ""


def _note_oddities(notes: Notes, classes: list[str], used: set[str], loose: int) -> None:
    notes.count("images lie next to the class folders: they have no label", loose)
    if empty := [name for name in classes if name not in used]:
        notes.say(f"{len(empty):,} of {len(classes):,} class folders have no images: {_some(empty)}")
    if classes and all(name.isdecimal() for name in classes) and classes != sorted(classes, key=int):
        notes.say(
            f"the class folders are numbers, taken in the order of their text: {_some(classes)}; "
            "pad them with zeros if the network counts them as numbers"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
