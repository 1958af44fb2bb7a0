"""Reader of images in class folders or in one folder, with a table of labels or without, or named one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stages.errors import DataError
from stages.formats.folder import class_info, find_images, sub_folders
from stages.formats.imagefolder import Options
from stages.formats.imagefolder.labelling import in_order, label
from stages.formats.imagefolder.parts import candidates, note_part, parts_among, unwrapped
from stages.formats.imagefolder.selection import LISTS, check_picture, is_pattern, listed, matching
from stages.formats.imagefolder.tables import SUFFIXES, ImageNames, read_labels
from stages.formats.source import Notes, Source
from stages.ingest.paths import basename, join, parent
from stages.ingest.records import ImageRecord
from stages.ingest.uris import is_file, is_folder, walk


def read(root: str, options: Options) -> Source:
    """Read ``root/SPLIT/<class>/**``, ``root/<class>/**`` or the images of a flat folder.

    The classes are the folders in bytewise order of their names, including those without images, or those of a
    table (see :func:`stages.formats.imagefolder.labelling.label`). The id of an image is the rank of its name,
    from 1, in bytewise order, or its place in the list.

    Args:
        root: Local path or uri of the folder; or of an image, a pattern such as ``pictures/**/*.jpg``, a list or
            a table of images.
        options: The part to read.

    Raises:
        ConfigurationError: There is no such part.
        DataError: The root is missing or has no images.
    """
    if is_folder(root):
        folders = sub_folders(root)
        if options.split not in folders:
            return _tree(root, walk(root), folders, options.split)
        part = [f"{options.split}/{name}" for name in walk(join(root, options.split))]
        return _tree(root, part, folders, options.split)
    if is_file(root):
        return _named(root)
    if is_pattern(root):
        folder, names = matching(root)
        if not names:
            raise DataError(f"no file matches {root}", about="root")
        return _tree(folder, names, None, options.split)
    raise DataError(f"no folder {root}; name the one that the images are in, an image or a list of them", about="root")


def _named(uri: str) -> Source:
    """The images of a list or table, or a single one."""
    notes, folder, suffix = Notes(), parent(uri), os.path.splitext(basename(uri))[1].lower()
    if suffix in LISTS:
        images = listed(uri, notes)
    elif suffix in SUFFIXES:
        found = read_labels(uri, ImageNames(find_images(walk(folder)).names))
        notes.extend(found.notes)
        images = [(join(folder, name), name, text) for name, text in found.of.items()]
    else:
        check_picture(uri)
        images = [(uri, basename(uri), "")]
    if not images:
        why = "; ".join(notes.lines()) or "it is empty"
        raise DataError(f"{uri} names no image that is there ({why})", about="root")
    classes = in_order({text for _, _, text in images})
    if classes:
        notes.count(f"images have no label in {basename(uri)}", sum(not text for _, _, text in images))
    return _source(images, classes, notes)


def _tree(root: str, files: list[str], folders: list[str] | None, split: str) -> Source:
    """The images of one part of a folder.

    Args:
        root: The folder.
        files: Files in it that may be images, relative to it.
        folders: Its sub-folders; None where only some of the files are wanted.
        split: The part to read.
    """
    found, notes = find_images(files), Notes()
    found.require(join(root, split) if folders and split in folders else root)
    notes.say(found.skipped_line())
    outer = unwrapped(found.names, "", split)
    tops = list(dict.fromkeys(name.removeprefix(outer).split("/")[0] for name in found.names if _below(name, outer)))
    places = [f"{outer}{part}/" for part in candidates(root, tops, split)] or [outer]
    labellings = (label(root, found.names, place, folders is not None) for place in places)
    first = next(labellings)
    chosen = first if first.classes else next((one for one in labellings if one.classes), first)
    names = list(chosen.label_of)
    if places != [outer]:
        note_part(notes, names[0].removeprefix(outer).split("/")[0], folders if folders and not outer else tops)
    parts = tuple(f"{outer}{part}/" for part in parts_among(tops))
    beside = sum(name not in chosen.label_of and not name.startswith(parts) for name in found.names)
    notes.count(f"images lie beside {'the parts' if parts else outer}: left out", beside)
    notes.extend(chosen.notes)
    return _source([(join(root, name), name, chosen.label_of[name]) for name in names], chosen.classes, notes)


def _source(images: Sequence[tuple[str, str, str]], classes: list[str], notes: Notes) -> Source:
    """The dataset of images (uri, name, class or empty)."""
    index = {name: at for at, name in enumerate(classes)}
    records = (
        ImageRecord(rank, uri, name, index.get(text, -1)) for rank, (uri, name, text) in enumerate(images, start=1)
    )
    return Source([class_info(name) for name in classes], records, notes)


def _below(name: str, prefix: str) -> bool:
    """Whether a file is in a sub-folder of a folder."""
    return name.startswith(prefix) and "/" in name.removeprefix(prefix)
