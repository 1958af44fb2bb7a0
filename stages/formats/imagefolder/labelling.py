"""The class of every image in a folder: that of its class folder, or of a table of labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from stages.classes import some
from stages.errors import DataError, StorageError
from stages.formats.folder import sub_folders
from stages.formats.parts import is_container, unwrapped
from stages.formats.source import Notes
from stages.formats.system_files import system_kind
from stages.formats.tables import SUFFIXES, ImageNames, Labels, in_order, read_labels
from stages.ingest.paths import join
from stages.ingest.uris import list_folder


@dataclass(frozen=True)
class Labelling:
    """Images with their classes.

    Attributes:
        labels_of: Classes of each image by its relative name, the first of them its label; none where it has none.
        classes: Names of the classes in label order; empty where the images have no labels.
        notes: Findings.
    """

    labels_of: dict[str, tuple[str, ...]]
    classes: list[str]
    notes: Notes = field(default_factory=Notes)


def label(root: str, names: list[str], places: list[str], whole: bool) -> Labelling:
    """Find the classes of the images in folders.

    ``metadata.csv`` or ``.jsonl`` decides if it gives labels. Otherwise the class folders do; where there are none,
    or only those below a folder such as ``images``, the table that labels most images. Tables lie in the folder of
    the images or in one around it.

    Args:
        root: Local path or uri of the dataset.
        names: Relative names of all its images, in bytewise order.
        places: The folders to label, as prefixes of names.
        whole: Whether class folders without images count as well; there is one folder then.
    """
    places = [unwrapped(names, place, "") for place in places]
    folder_of = {
        name: _class_of(name.removeprefix(place)) for place in places for name in names if name.startswith(place)
    }
    in_folders = any(folder_of.values())
    notes = Notes()
    best = Labelling({}, [])
    for name, table in _tables(root, places, names, notes):
        found = {image: labels for image, labels in table.of.items() if labels and image in folder_of}
        standard = name.rpartition("/")[2].lower().startswith("metadata.")
        if not table.of:
            if not in_folders:
                notes.extend(table.notes)
                notes.say(f"{name} names none of the images")
        elif in_folders and not all(map(is_container, places)) and not standard:
            differing = sum(folder_of[image] not in ("", labels[0]) for image, labels in found.items())
            what = f"images have another class in {name} than their folder, which decides; data.root={join(root, name)}"
            notes.count(f"{what} reads the table", differing)
        elif len(found) > sum(map(bool, best.labels_of.values())):
            best = _by_table(name, table, folder_of, found)
        elif not found:
            notes.extend(table.notes)
    if best.classes:
        return best
    classes = (sub_folders(join(root, places[0])) if whole else in_order(folder_of.values())) if in_folders else []
    _note_oddities(notes, classes, list(folder_of.values()))
    return Labelling({name: (one,) if one else () for name, one in folder_of.items()}, classes, notes)


def _by_table(name: str, table: Labels, folder_of: dict[str, str], found: dict[str, tuple[str, ...]]) -> Labelling:
    notes = Notes()
    notes.say(f"the labels are those of {name}, {table.column}")
    notes.extend(table.notes)
    notes.count(f"images have no label in {name}", len(folder_of) - len(found))
    return Labelling(dict.fromkeys(folder_of, ()) | found, in_order(chain(*found.values())), notes)


def _tables(root: str, places: list[str], names: list[str], notes: Notes) -> Iterator[tuple[str, Labels]]:
    """Name and content of each table in some folders and those around them, the nearest first."""
    around = {"", *(place[: at + 1] for place in places for at, mark in enumerate(place) if mark == "/")}
    found = [
        folder + name
        for folder in sorted(around, key=lambda folder: (-folder.count("/"), folder))
        for name in list_folder(join(root, folder))[1]
        if name.lower().endswith(SUFFIXES) and not system_kind(name)
    ]
    images = ImageNames(names if found else [], places)
    for name in found:
        try:
            yield name, read_labels(join(root, name), images)
        except StorageError:
            raise
        except DataError as error:
            notes.count("files that may list labels cannot be read: they are left out", example=str(error))


def _class_of(name: str) -> str:
    """The class folder of an image; empty where it is in none."""
    return name.partition("/")[0] if "/" in name else ""


def _note_oddities(notes: Notes, classes: list[str], folders: list[str]) -> None:
    used = set(folders)
    if classes:
        notes.count("images lie next to the class folders: they have no label", folders.count(""))
    if empty := [name for name in classes if name not in used]:
        notes.say(f"{len(empty):,} of {len(classes):,} class folders have no images: {some(empty)}")
    if classes and all(name.isdecimal() for name in classes) and classes != sorted(classes, key=int):
        notes.say(
            f"the class folders are numbers, taken in the order of their text: {some(classes)}; "
            "pad them with zeros if the network counts them as numbers"
        )
