"""Where the images and XML files of a Pascal VOC dataset lie, and which belong together."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Sequence
from posixpath import splitext

from stages.errors import DataError
from stages.formats.parts import candidates, note_part, tops, unwrapped
from stages.formats.source import Notes
from stages.formats.system_files import system_kind
from stages.ingest.paths import join

SETS = "ImageSets/Main/"
_ANNOTATIONS = "Annotations/"
_PICTURES = ("JPEGImages/", "images/", "")


def top_of(root: str, names: list[str]) -> str:
    """The folder that has the annotations, relative to the root, empty or with a slash at the end.

    Raises:
        DataError: There are several, such as those of two years.
    """
    marks = (f"/{_ANNOTATIONS}", f"/{SETS}")
    found = sorted({f"/{name}".partition(mark)[0] for name in names for mark in marks if mark in f"/{name}"})
    if len(found) > 1:
        listed = ", ".join(join(root, one.lstrip("/")) for one in found)
        raise DataError(f"{root} holds several datasets; choose one by data.root: {listed}", about="root")
    return f"{found[0].lstrip('/')}/".lstrip("/") if found else ""


def pictures_of(top: str, names: list[str]) -> dict[str, str]:
    """Images by name without extension, below the first folder that is there."""
    for one in _PICTURES:
        below = [name for name in names if name.startswith(f"{top}{one}")]
        if below:
            return {stem_of(name.removeprefix(f"{top}{one}")): name for name in reversed(below)}
    return {}


def folder_of(top: str, file: str) -> str:
    """The folder of images that a file is in."""
    return next(f"{top}{one}" for one in _PICTURES if file.startswith(f"{top}{one}"))


def xml_files(top: str, names: list[str], pictures: Container[str], notes: Notes) -> dict[str, str]:
    """XML files by the image that is called like the longest end of their path; by their path where none is.

    Args:
        top: The folder of the dataset.
        names: Names of all files.
        pictures: Names of images without extension.
        notes: Told of files about one image.
    """
    found: dict[str, str] = {}
    for name in names:
        if not (name.startswith(top) and name.lower().endswith(".xml")) or system_kind(name):
            continue
        stem = stem_of(name.removeprefix(top).removeprefix(_ANNOTATIONS))
        parts = stem.split("/")
        end = next((one for at in range(len(parts)) if (one := "/".join(parts[at:])) in pictures), stem)
        notes.count("XML files are about the image of another one: left out", end in found, example=name)
        if end not in found or end == stem:
            found[end] = name
    return found


def of_part(root: str, stems: list[str], split: str, notes: Notes) -> list[str]:
    """The images of a part that has a folder of its own; all of them where there are no parts.

    Args:
        root: The root, for messages.
        stems: Names of images without extension.
        split: The part.
        notes: Told which part is taken.

    Raises:
        ConfigurationError: There is no such part.
    """
    outer = unwrapped(stems, "", split)
    folders = tops(stems, outer)
    parts: Sequence[str] = candidates(root, folders, split)
    if not parts:
        return stems
    note_part(notes, parts[0], folders)
    return [one for one in stems if one.startswith(f"{outer}{parts[0]}/")]


def stem_of(name: str) -> str:
    """A name without its extension, in Unicode's composed form: file systems of macOS decompose names."""
    return composed(splitext(name)[0])


def composed(name: str) -> str:
    """A text in Unicode's composed form."""
    return unicodedata.normalize("NFC", name)
