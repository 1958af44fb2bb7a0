"""Reader of images in class folders or in one folder, with a table of labels or without, or named one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stages.errors import ConfigurationError, DataError
from stages.formats.folder import class_info, find_images, sub_folders
from stages.formats.imagefolder import Options
from stages.formats.imagefolder.labelling import label
from stages.formats.imagefolder.selection import LISTS, check_picture, is_pattern, listed, matching
from stages.formats.parts import candidates, note_part, parts_among, tops, unwrapped
from stages.formats.source import Notes, Source
from stages.formats.tables import SUFFIXES, ImageNames, in_order, read_labels
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
    split = options.split
    if is_folder(root):
        folders = sub_folders(root)
        # Training sets are large: they are not walked where another part is wanted, unless that has no images.
        part = [f"{split}/{name}" for name in walk(join(root, split))] if split in folders else []
        return _part(root, part if any(find_images([name]).names for name in part) else walk(root), folders, split)
    if split != Options.split:
        raise ConfigurationError(f"{root} is no folder and names its images itself; leave this key out", about="split")
    if is_file(root):
        return _named(root)
    if is_pattern(root):
        return _matching(root)
    raise DataError(f"no folder {root}; name the one that the images are in, an image or a list of them", about="root")


def _named(uri: str) -> Source:
    """The images of a list or table, or a single one."""
    notes, folder, suffix = Notes(), parent(uri), os.path.splitext(basename(uri))[1].lower()
    if suffix in LISTS:
        images = listed(uri, notes)
    elif suffix in SUFFIXES:
        found = read_labels(uri, ImageNames(find_images(walk(folder)).names))
        notes.extend(found.notes)
        images = [(join(folder, name), name, labels) for name, labels in found.of.items()]
    else:
        check_picture(uri)
        images = [(uri, basename(uri), ())]
    if not images:
        why = "; ".join(notes.lines()) or "it is empty"
        raise DataError(f"{uri} names no image that is there ({why})", about="root")
    classes = in_order(one for _, _, labels in images for one in labels)
    if classes:
        notes.count(f"images have no label in {basename(uri)}", sum(not labels for _, _, labels in images))
    return _source(images, classes, notes)


def _matching(pattern: str) -> Source:
    """The images that match a pattern, of all parts."""
    root, files = matching(pattern)
    if not files:
        raise DataError(f"no file matches {pattern}", about="root")
    found, notes = find_images(files), Notes()
    found.require(pattern)
    notes.say(found.skipped_line())
    outer = unwrapped(found.names, "", "")
    places = [f"{outer}{part}/" for part in parts_among(tops(found.names, outer))]
    labelled = label(root, found.names, places or [outer], whole=False)
    notes.extend(labelled.notes)
    images = [(join(root, name), name, labelled.labels_of.get(name, ())) for name in found.names]
    return _source(images, labelled.classes, notes)


def _part(root: str, files: list[str], folders: list[str], split: str) -> Source:
    """The images of one part of a folder, or of the whole one where it has none.

    Args:
        root: The folder.
        files: Files in it that may be images, relative to it.
        folders: Its sub-folders.
        split: The part to read.
    """
    found, notes = find_images(files), Notes()
    found.require(root)
    notes.say(found.skipped_line())
    outer = unwrapped(found.names, "", split)
    folders_within = tops(found.names, outer)
    parts = candidates(root, folders_within, split)
    tried = (label(root, found.names, [f"{outer}{part}/" if part else outer], whole=True) for part in parts or [""])
    first = next(tried)
    chosen = first if first.classes else next((one for one in tried if one.classes), first)
    names = list(chosen.labels_of)
    if parts:
        note_part(notes, tops(names, outer)[0], folders_within if outer else folders)
    apart = tuple(f"{outer}{part}/" for part in parts_among(folders_within))
    beside = sum(name not in chosen.labels_of and not name.startswith(apart) for name in found.names)
    notes.count(f"images lie beside {'the parts' if parts else outer}: left out", beside)
    notes.extend(chosen.notes)
    images = [(join(root, name), name, labels) for name, labels in chosen.labels_of.items()]
    return _source(images, chosen.classes, notes)


def _source(images: Sequence[tuple[str, str, tuple[str, ...]]], classes: list[str], notes: Notes) -> Source:
    """The dataset of images (uri, name, classes)."""
    index = {name: at for at, name in enumerate(classes)}
    records = (
        ImageRecord(rank, uri, name, index[labels[0]] if labels else -1, labels=tuple(index[one] for one in labels[1:]))
        for rank, (uri, name, labels) in enumerate(images, start=1)
    )
    return Source([class_info(name) for name in classes], records, notes)
