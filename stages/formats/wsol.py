"""The text files of clovaai/wsolevaluation: lines of an image's name and what is said of it, separated by commas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from stages.errors import ConfigurationError, DataError
from stages.formats.delimited import text_of
from stages.formats.numbers import number, whole
from stages.formats.source import Notes
from stages.ingest.paths import basename, join

Values = dict[str, list[list[Any]]]
"""What each of an image's lines says, by its name."""

SPLITS = ("train", "val", "test")
_LISTS = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt")
_DATASETS = ("cub", "ilsvrc", "openimages")


class Entry(NamedTuple):
    """What the files say of one image.

    Attributes:
        name: Its name, a relative POSIX path.
        label: Its class, from 0; -1 where it is unknown.
        width: Width in pixels; 0 where it is unknown.
        height: Height in pixels; 0 where it is unknown.
        rows: Where its objects are: inclusive edges xmin, ymin, xmax, ymax, or paths of masks.
    """

    name: str
    label: int
    width: int
    height: int
    rows: list[list[Any]]


class Form(NamedTuple):
    """What stands behind the name in a line of one of the files."""

    length: int
    kind: str
    convert: Callable[[str], Any]


BOX = Form(4, "integers", number)
MASK = Form(2, "paths", str.strip)


def find_lists(root: str, files: Sequence[str], dataset: str, split: str) -> tuple[str, dict[str, str]]:
    """The files of one part of a dataset, among all files below a root.

    Their folder is called like the part, as in the published ``metadata/CUB/test``; the only folder that has such
    files may have any name but that of another part.

    Args:
        root: The root.
        files: Relative names of the files.
        dataset: Name of the dataset, in lower case.
        split: Name of the part.

    Returns:
        The folder, and the uri of each file by its name without ``.gz``.

    Raises:
        ConfigurationError: There are files of other parts only.
        DataError: There are none.
    """
    places: dict[str, dict[str, str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        if name.removesuffix(".gz") in _LISTS and not _is_of_another(f"{basename(root)}/{folder}", dataset):
            places.setdefault(folder, {}).setdefault(name.removesuffix(".gz"), join(root, file))
    places = {folder: own for folder, own in places.items() if _LISTS[0] in own}
    parts = {folder: PurePosixPath(basename(root), folder).name for folder in places}
    chosen = [folder for folder, part in parts.items() if part == split]
    if not chosen and len(places) == 1 and not set(parts.values()) & set(SPLITS):
        chosen = list(places)
    if chosen:
        folder = min(chosen, key=lambda one: (dataset not in one.casefold(), one.count("/"), one))
        return join(root, folder), places[folder]
    if places:
        listed = ", ".join(sorted({part for part in parts.values() if part in SPLITS} or places))
        raise ConfigurationError(f"{root} has no image_ids.txt of the part {split}; it has {listed}", about="split")
    raise DataError(
        f"there is no image_ids.txt under {root}; name a folder that has wsolevaluation's files of the part {split} "
        "and the images",
        about="root",
    )


def read_entries(
    folder: str,
    files: dict[str, str],
    classes: int,
    located: Form,
    notes: Notes,
    optional: Sequence[str] = (),
) -> Iterator[Entry]:
    """What the files of one part say, image by image in the order of ``image_ids.txt``.

    Several lines of an image are its objects in ``localization.txt``; elsewhere the first one decides.

    Args:
        folder: The folder, for messages.
        files: Uri of each of its files by its name without ``.gz``.
        classes: Number of classes that the dataset may have.
        located: What a line of ``localization.txt`` holds.
        notes: Findings, which count lines that cannot be read, contradict another or are repeated.
        optional: Names of the files that may be missing.

    Raises:
        DataError: A file is missing.
    """
    tables: dict[str, Values] = {}
    forms = {
        "image_ids.txt": Form(0, "", str),
        "class_labels.txt": Form(1, "integers", whole),
        "image_sizes.txt": Form(2, "integers", whole),
        "localization.txt": located,
    }
    for name, form in forms.items():
        if name not in files and name not in optional:
            raise DataError(f"{folder} has image_ids.txt but no {name}; add it")
        tables[name] = _lines(files[name], form, notes) if name in files else {}
    ids, *others = tables.values()
    named = [basename(files.get(name, name)) for name in _LISTS[1:]]
    for file, table in zip(named, others, strict=True):
        unknown = table.keys() - ids.keys()
        what = f"images of {file} are not in image_ids.txt: left out"
        notes.count(what, len(unknown), example=min(unknown, default=""))
    for image, lines in ids.items():
        notes.count("images are in image_ids.txt more than once: they count once", len(lines) > 1, example=image)
        labels, sizes, rows = (table.get(image, []) for table in others)
        label = _first(image, labels or [[-1]], named[0], notes)[0]
        if not -1 <= label < classes:
            what = f"images of {named[0]} have a class outside 0 to {classes - 1}: they have no label"
            notes.count(what, example=f"{image} with {label}")
            label = -1
        width, height = _first(image, sizes or [[0, 0]], named[1], notes)
        yield Entry(image, label, width, height, _once(image, rows, named[2], notes))


def _is_of_another(folder: str, dataset: str) -> bool:
    """Whether a folder is in one that is called like another dataset."""
    named = [part for part in folder.casefold().split("/") if part in _DATASETS]
    return bool(named) and dataset not in named


def _lines(uri: str, form: Form, notes: Notes) -> Values:
    table: Values = {}
    for position, line in enumerate(text_of(uri, notes).splitlines(), start=1):
        if not line.strip():
            continue
        image, *words = line.split(",")
        try:
            values = [form.convert(word) for word in words]
        except ValueError:
            values = []
        if len(words) != form.length or len(values) != form.length:
            what = f"lines of {basename(uri)} lack {form.length} {form.kind} after the name: left out"
            notes.count(what, example=f"line {position}")
            continue
        table.setdefault(image.strip(), []).append(values)
    return table


def _first(image: str, lines: list[list[Any]], file: str, notes: Notes) -> list[Any]:
    if any(line != lines[0] for line in lines):
        notes.count(f"images have lines in {file} that contradict each other: the first is used", example=image)
    return lines[0]


def _once(image: str, lines: list[list[Any]], file: str, notes: Notes) -> list[list[Any]]:
    """The lines of an image, which are all repeated where a file was appended to itself.

    The published file repeats a few lines of images that have others too: those stay.
    """
    times = Counter(map(tuple, lines))
    if not lines or min(times.values()) == 1:
        return lines
    notes.count(f"images have every line in {file} more than once: each counts once", example=image)
    return [list(line) for line in times]
