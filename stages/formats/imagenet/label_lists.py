"""Lists of labels alone: the devkit's ground truth, caffe's ``val.txt`` and their kin."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator

from stages.classes import ilsvrc_ids, imagenet_classes
from stages.errors import DataError, StorageError, first_line
from stages.formats.content import opened
from stages.formats.delimited import encoding_of, text_of
from stages.formats.folder import wnid_of
from stages.formats.imagenet.places import Places
from stages.formats.imagenet.row import STEM, labels_by_wnid, stem_of
from stages.formats.numbers import whole
from stages.formats.source import Notes
from stages.ingest.paths import basename, join
from stages.ingest.uris import read_bytes

_FOLDERS = (
    "",
    "meta",
    "data",
    "devkit/data",
    "ILSVRC2012_devkit_t12/data",
    "ILSVRC/devkit/data",
    "caffe_ilsvrc12",
)
_DEVKIT = re.compile(r"ILSVRC2012_devkit.*\.(tar|tar\.gz|tgz)")
_IN_ORDER = re.compile(r".*validation_(ground_truth|synset_labels)\.txt(\.gz)?")
_TEXT = re.compile(r".*\.(txt|csv|tsv|lst)(\.gz)?", re.IGNORECASE)
# The name of an image, which ends the path of its file, and what stands behind it.
_LINE = re.compile(rf"""(?:.*[\\/"'\s,;])?({STEM.pattern}(?:\.\w+)?)["']?(?:[\s,;]+(.*))?""", re.IGNORECASE)
_HEADER_LINES = 5
_SEPARATOR = re.compile(r"[\s,;]+")
_SNIFFED = 4096


def read_labels(root: str, notes: Notes) -> dict[str, int]:
    """Labels by the stem of their image, from every list under a root; of two the first one decides.

    A list has lines ``NAME LABEL``, where the label is a WordNet id or the class's index from 0 in the order of the
    ids, as caffe's ``val.txt``; or line N is about image N and has its ILSVRC id, as in the devkit's
    ``ILSVRC2012_validation_ground_truth.txt``, or its WordNet id, as TensorFlow's.

    Args:
        root: Folder, or a tar file of images with the lists next to it.
        notes: Findings: the lists, and files and lines that cannot be used or contradict others.
    """
    places = Places(root)
    merged: dict[str, int] = {}
    origin: dict[str, str] = {}
    for uri, text in _texts(places, notes):
        name = places.name(uri)
        for stem, label in _labels(name, text, notes):
            known = merged.setdefault(stem, label)
            first = origin.setdefault(stem, name)
            where = f"between {first} and {name}" if first != name else f"within {name}"
            notes.count(f"labels differ {where}: the former is used", known != label)
    return merged


def _texts(places: Places, notes: Notes) -> Iterator[tuple[str, str]]:
    """Uri and text of each list."""
    for folder, names in places.files(_FOLDERS):
        beside_boxes = any(name.startswith("localization.txt") for name in names)
        for name in names:
            uri = join(folder, name)
            try:
                if not (beside_boxes and name.startswith("class_labels")):
                    yield from _texts_of(name, uri, notes)
            except StorageError:
                raise
            except (DataError, tarfile.TarError, OSError) as error:
                what = "files that may list labels cannot be read: they are left out"
                notes.count(what, example=f"{places.name(uri)}: {first_line(error)}")


def _texts_of(name: str, uri: str, notes: Notes) -> Iterator[tuple[str, str]]:
    if _TEXT.fullmatch(name) and _is_list(name, _start(uri, notes)):
        yield uri, text_of(uri, notes)
    if _DEVKIT.fullmatch(name):
        with opened(uri) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if _IN_ORDER.fullmatch(basename(member.name)) else None
                if content is not None:
                    yield join(uri, basename(member.name)), content.read().decode("utf-8-sig", errors="replace")


def _start(uri: str, notes: Notes) -> str:
    """The first lines of a file, or all of a gzipped one."""
    if uri.lower().endswith(".gz"):
        return text_of(uri, notes)
    start = read_bytes(uri, _SNIFFED)
    return start.decode(encoding_of(start), errors="replace")


def _is_list(name: str, text: str) -> bool:
    """Whether the first line is one of a list, or one of the next where something stands above it."""
    lines = [_words(line) for line in text.strip().splitlines()[:_HEADER_LINES]]
    if lines and len(lines[0]) == 1:
        return bool(_IN_ORDER.fullmatch(name))
    return any(len(words) == 2 and STEM.fullmatch(stem_of(words[0])) for words in lines)


def _words(line: str) -> list[str]:
    """The words of a line: of one that names an image, its name, its label, and more only if these are numbers too."""
    found = _LINE.fullmatch(line.strip())
    words = [word.strip("\"'") for word in _SEPARATOR.split((found.groups()[-1] or "") if found else line) if word]
    if not found:
        return words
    spoken = len(words) > 2 and not any(word.replace(".", "").isdecimal() for word in words[1:])
    named = len(words) == 2 and not words[1].replace(".", "").isdecimal()
    return [found[1], *(words[:1] if (spoken or named) and _says_class(words[0]) else words)]


def _says_class(word: str) -> bool:
    return word.isdecimal() or bool(wnid_of(word))


def _labels(name: str, text: str, notes: Notes) -> Iterator[tuple[str, int]]:
    """Stem and label of each line that has both."""
    lines = [_words(line) for line in text.strip().splitlines()]
    in_order = max(map(len, lines), default=1) == 1
    rows = [[f"ILSVRC2012_val_{row:08d}", *words] for row, words in enumerate(lines, 1)] if in_order else lines
    numbers = {row[-1].removesuffix(".0") for row in rows if row}
    if why := _unusable(rows, numbers, in_order):
        notes.say(f"{name} {why}: it is not used")
        return
    if any(word.isdecimal() for word in numbers):
        order = "the ILSVRC ids of the devkit" if in_order else "indices from 0 in the order of the wnids"
        notes.say(f"the numbers of {name} are taken as {order}")
    for position, row in enumerate(rows, start=1):
        if not row:
            continue
        label = _class(row[1], in_order) if len(row) == 2 else -1
        if label >= 0:
            yield stem_of(row[0]), label
        else:
            notes.count(f"lines of {name} have no class of the 1000: left out", example=f"line {position}")


def _unusable(rows: list[list[str]], numbers: set[str], in_order: bool) -> str:
    """Why the numbers of a list are not those that its form has; empty where they may be."""
    if in_order and not all(len(row) == 2 for row in rows):
        return "has blank lines, so that its lines are not counted off as the images are"
    if in_order:
        return "numbers the classes from 0, as no ILSVRC ids do" if "0" in numbers else ""
    if all(len(row) == 2 and _is_own_number(*row) for row in rows):
        return "numbers the images, not their classes"
    from_one = "1000" in numbers and "0" not in numbers
    return "numbers the classes from 1 to 1000, which may be two orders" if from_one else ""


def _class(word: str, devkit: bool) -> int:
    """The class that a wnid or a number says; -1 where there is no such class."""
    if wnid := wnid_of(word):
        return labels_by_wnid().get(wnid, -1)
    try:
        number = whole(word)
    except ValueError:
        return -1
    if devkit:
        return ilsvrc_ids().get(number, -1)
    return number if 0 <= number < len(imagenet_classes()) else -1


def _is_own_number(name: str, label: str) -> bool:
    """Whether a line is one of the lists of images in Kaggle's tree: the number is the image's, not its class's."""
    found = STEM.fullmatch(stem_of(name))
    return found is not None and label.isdecimal() and int(found[1]) == int(label)
