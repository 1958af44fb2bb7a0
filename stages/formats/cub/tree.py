"""The text files of the published ``CUB_200_2011``: lines of a number and what belongs to it, separated by a blank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from stages.errors import DataError
from stages.formats.delimited import text_of
from stages.formats.folder import find_images
from stages.formats.numbers import number
from stages.formats.source import Notes
from stages.ingest.paths import join

IMAGES, SPLIT = "images.txt", "train_test_split.txt"
LABELS, BOXES, CLASSES = "image_class_labels.txt", "bounding_boxes.txt", "classes.txt"


class Tree(NamedTuple):
    """What the files say of the images of one part, by the number of the image.

    Attributes:
        names: Name below ``images``.
        labels: Number of the class.
        boxes: Inclusive edges xmin, ymin, xmax, ymax.
        classes: Name of each class by its number.
    """

    names: dict[int, str]
    labels: dict[int, int]
    boxes: dict[int, list[float]]
    classes: dict[int, str]


def find_tree(files: Sequence[str]) -> str | None:
    """The folder of the tree among the relative names of all files, as a prefix of names; None where there is none."""
    known = set(files)
    folders = [file.removesuffix(IMAGES) for file in files if f"/{file}".endswith(f"/{IMAGES}")]
    found = [one for one in folders if any(f"{one}{name}" in known for name in (SPLIT, LABELS, BOXES))]
    return min(found, key=lambda one: (one.count("/"), one), default=None)


def read_tree(root: str, folder: str, files: Sequence[str], train: bool, notes: Notes) -> Tree:
    """Read the files.

    Args:
        root: The root.
        folder: The tree's folder below it.
        files: Relative names of all files below the root.
        train: Whether the images are those for training, or the others.
        notes: Findings, which count lines that cannot be read, are repeated or belong to no image.

    Raises:
        DataError: Nothing says which images are for training.
    """
    known = set(files)

    def lines(name: str, kind: str, convert: Callable[[str], Any]) -> dict[int, Any]:
        if f"{folder}{name}" in known:
            return _once(name, _lines(join(root, f"{folder}{name}"), name, kind, convert, notes), notes)
        if name == SPLIT:
            raise DataError(f"{join(root, folder)} has {IMAGES} but no {SPLIT}; add it", about="root")
        notes.say(f"{folder}{name} is missing: {_WITHOUT[name]}")
        return {}

    names = lines(IMAGES, "a name", _name)
    split = lines(SPLIT, "0 or 1", ("0", "1").index)
    labels = lines(LABELS, "a class", int)
    boxes = lines(BOXES, "x y width height", _edges)
    classes = lines(CLASSES, "a name", _name)
    for name, table in ((SPLIT, split), (LABELS, labels), (BOXES, boxes)):
        others = table.keys() - names.keys()
        notes.count(f"lines of {name} belong to no image: left out", len(others), example=str(min(others, default="")))
    unknown = names.keys() - split.keys()
    example = names[min(unknown)] if unknown else ""
    notes.count(f"images are of no part in {SPLIT}: left out", len(unknown), example=example)
    there = [file for file in find_images(files).names if file.startswith(f"{folder}images/")]
    extra = set(there) - {f"{folder}images/{name}" for name in names.values()}
    notes.count(f"images are not in {IMAGES}: left out", len(extra), example=min(extra, default=""))
    own = {key: name for key, name in names.items() if split.get(key) == int(train)}
    return Tree(own, labels, boxes, classes)


_WITHOUT = {
    LABELS: "the labels are the images' folders",
    BOXES: "there are no boxes",
    CLASSES: "the classes are the images' folders",
}


def _lines(
    uri: str, name: str, kind: str, convert: Callable[[str], Any], notes: Notes
) -> Iterator[tuple[int, int, Any]]:
    """Place, number and value of each line."""
    for position, line in enumerate(text_of(uri, notes).splitlines(), start=1):
        if not line.strip():
            continue
        first, _, rest = " ".join(line.split("\t")).strip().partition(" ")
        try:
            yield position, int(first), convert(rest.strip())
        except ValueError:
            notes.count(f"lines of {name} are not a number and {kind}: left out", example=f"line {position}")


def _once(name: str, lines: Iterator[tuple[int, int, Any]], notes: Notes) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for position, key, value in lines:
        if key in found:
            what = "repeat an earlier one" if found[key] == value else "contradict an earlier one, which decides"
            notes.count(f"lines of {name} {what}", example=f"line {position}")
        found.setdefault(key, value)
    return found


def _name(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _edges(text: str) -> list[float]:
    x, y, width, height = map(number, text.split())
    return [x, y, x + width, y + height]
