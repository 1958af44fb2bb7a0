"""The images of the validation set or of one like it, in any common layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from stages.errors import DataError
from stages.formats.folder import Found, find_images, require_folder, wnid_of
from stages.formats.imagenet.places import class_number, inside, is_class, is_tar, two_levels
from stages.formats.imagenet.row import STEM, labels_by_wnid, stem_of
from stages.formats.source import Notes
from stages.ingest.paths import basename, join
from stages.ingest.tar import tar_members
from stages.ingest.uris import is_file, list_folder, walk

_TARS = ("ILSVRC2012_img_val.tar", "ILSVRC2012_img_val.tar.gz", "ILSVRC2012_img_val.tgz")
_FOLDERS = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "")


class Image(NamedTuple):
    """One image, described by its name and location.

    Attributes:
        number: The image id.
        name: POSIX path relative to the root or in the tar.
        uri: Where its bytes are.
        key: What annotations call it; empty where it is of no known part.
        label: The class that its name or folder says; -1 where it says none.
    """

    number: int
    name: str
    uri: str
    key: str
    label: int


def find(root: str, notes: Notes) -> list[Image]:
    """The images of the first layout that has any of the validation set, or else any in class folders.

    The layouts are: the root itself, if it is a tar file; ``ILSVRC2012_img_val.tar``, gzipped or not, read in
    place; ``ILSVRC/Data/CLS-LOC/val``; ``Data/CLS-LOC/val``; ``val``; the root; the same one folder deeper. Folders
    may be flat or have one folder per class, named by its WordNet id, alone or with more words, or numbered from 0 in
    the order of the ids. An image of the validation set has the id that its name says, others their rank by name.

    Raises:
        DataError: The root is missing or has no such images.
    """
    if is_file(root) and not is_tar(root):
        raise DataError(f"{root} is neither a folder nor a tar file of images", about="root")
    every = Found()
    similar: dict[str, str] = {}
    said: list[str] = []
    for uris, finding in _layouts(root):
        found = find_images(uris)
        every.names += found.names
        every.skipped.update(found.skipped)
        validation = {name: uris[name] for name in found.names if STEM.fullmatch(PurePosixPath(name).stem)}
        if validation:
            notes.say(finding)
            if rest := len(found.names) - len(validation):
                notes.say(f"skipped {rest:,} images that are not named ILSVRC2012_val_########")
            return once(_images(validation, notes), notes)
        classed = [name for name in found.names if is_class(PurePosixPath(name).parent.name)]
        if classed and not similar:
            rest = len(found.names) - len(classed)
            said = [finding, f"skipped {rest:,} images that are in no class folder" if rest else ""]
            similar = {name: uris[name] for name in sorted(classed, key=str.encode)}
    if similar:
        for line in said:
            notes.say(line)
        notes.say(f"{len(similar):,} images are not of the validation set: their ids are their ranks by name")
        return _images(similar, notes)
    deeper = [] if every.names or is_tar(root) else find_images(walk(root)).names
    others = every.names or [name for name in deeper if not is_class(PurePosixPath(name).parent.name)]
    if not others:
        every.require(root)
    raise DataError(
        f"no image under {root} is named ILSVRC2012_val_######## or lies in a class folder (such as {others[0]}); "
        "the format imagefolder reads other images",
        about="root",
    )


def _layouts(root: str) -> Iterator[tuple[dict[str, str], str]]:
    """Files (uri by name relative to the root or in the tar) and finding of each place that may hold the images."""
    if is_tar(root) and is_file(root):
        yield _members(root)
        return
    require_folder(root)
    yield from _in_place(root, root)
    for place in inside(root, list_folder(root)[0]):
        for uris, finding in _in_place(root, place):
            yield uris, finding or f"the images are those in {place}"


def _in_place(root: str, place: str) -> Iterator[tuple[dict[str, str], str]]:
    """The layouts in a root or in a folder of it."""
    for archive in (join(place, name) for name in _TARS):
        if is_file(archive):
            yield _members(archive)
    for folder in _FOLDERS:
        parts = (basename(place) if place != root else "", folder)
        prefix = "".join(f"{part}/" for part in parts if part)
        names = [prefix + name for name in two_levels(join(place, folder))]
        yield {name: join(root, name) for name in names}, ""


def _members(archive: str) -> tuple[dict[str, str], str]:
    members, left_out = tar_members(archive)
    return members, f"{left_out:,} links or unsafe names in {archive} ignored" if left_out else ""


def _images(uris: dict[str, str], notes: Notes) -> list[Image]:
    numbers = {class_number(PurePosixPath(name).parent.name) for name in uris} - {None}
    from_one = 1000 in numbers and 0 not in numbers
    if from_one:
        notes.say(
            "the class folders are numbered 1 to 1000, which may be two orders: their images have no label from "
            "them; name the folders by wnid, or 0 to 999 in the order of the wnids"
        )
    elif numbers:
        notes.say("the class folders are numbers: N is class N of 0 to 999 in the order of the wnids (0 is tench)")
    images = []
    for rank, (name, uri) in enumerate(uris.items(), start=1):
        path = PurePosixPath(name)
        found = STEM.fullmatch(path.stem)
        label = _label((found[2] if found else "") or path.parent.name, from_one, notes)
        images.append(Image(int(found[1]) if found else rank, name, uri, stem_of(name) if found else "", label))
    return images


def _label(folder: str, from_one: bool, notes: Notes) -> int:
    """The class that a folder's name or a wnid says; -1 where it says none."""
    if wnid := wnid_of(folder):
        label = labels_by_wnid().get(wnid, -1)
        notes.count("images lie in a folder of a wnid outside the 1000 classes", label < 0)
        return label
    number = class_number(folder)
    if number is None or from_one:
        return -1
    notes.count("images lie in a folder whose number is outside 0 to 999: they have no label", number > 999)
    return number if number < 1000 else -1


def once(images: list[Image], notes: Notes) -> list[Image]:
    """The images without those that occur again: one that says its class stays, and else the first."""
    kept: dict[int, Image] = {}
    for image in images:
        known = kept.setdefault(image.number, image)
        if known is image:
            continue
        first, second = (image, known) if known.label < 0 <= image.label else (known, image)
        kept[image.number] = first
        notes.count("images occur twice: the former is read", example=f"{first.name} and {second.name}")
        differ = second.label >= 0 and first.label != second.label
        notes.count("of them, those in the folders of two classes: the former is the label", differ)
    return list(kept.values())
