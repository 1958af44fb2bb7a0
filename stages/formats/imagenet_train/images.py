"""The images of the training set: in one tar of class tars, in class tars, or unpacked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from posixpath import basename, splitext

from stages.errors import DataError, StorageError
from stages.formats.folder import find_images, require_folder, wnid_of
from stages.formats.imagenet.images import Image, once
from stages.formats.imagenet.places import is_tar
from stages.formats.imagenet.row import TRAIN_STEM, labels_by_wnid
from stages.formats.source import Notes
from stages.ingest.paths import join
from stages.ingest.tar import tar_members
from stages.ingest.uris import is_file, is_folder, list_folder, walk

_TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_train.tar.gz", "ILSVRC2012_img_train.tgz")
_FOLDERS = ("ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "train", "")
_PER_CLASS = 1_000_000

Files = Iterator[tuple[str, str]]
"""Names and uris of files."""


def find(root: str, notes: Notes) -> list[Image]:
    """The images of the first layout that has any.

    The layouts are: the root itself, if it is a tar file; ``ILSVRC2012_img_train.tar``, of which nothing is unpacked;
    ``ILSVRC/Data/CLS-LOC/train``, ``Data/CLS-LOC/train``, ``train`` and the root, with class folders, class tars such
    as ``n01440764.tar``, or both. The id of an image is the same in all of them and in any part of the set: a million
    times its class, plus its number. An image of another class has its WordNet id in place of the class.

    Raises:
        DataError: The root is missing or has no such images.
    """
    if is_file(root):
        if not is_tar(root):
            raise DataError(f"{root} is neither a folder nor a tar file of images", about="root")
        return _images(root, _of_tar(root, notes), notes)
    require_folder(root)
    archive = next((name for name in _TARS if name in list_folder(root)[1]), None)
    if archive is not None:
        return _images(root, _of_tar(join(root, archive), notes), notes)
    for folder in _FOLDERS:
        files = walk(join(root, folder)) if is_folder(join(root, folder)) else []
        if any(map(_is_of_training, files)):
            names = (f"{folder}/{name}" if folder else name for name in files)
            return _images(root, _with_class_tars(((name, join(root, name)) for name in names), notes), notes)
    raise _nothing(root)


def _is_of_training(name: str) -> bool:
    stem, _ = splitext(basename(name))
    return (bool(TRAIN_STEM.fullmatch(stem)) and not name.lower().endswith(".xml")) or _is_class_tar(name)


def _is_class_tar(name: str) -> bool:
    return is_tar(name) and bool(wnid_of(basename(name).partition(".")[0]))


def _of_tar(archive: str, notes: Notes) -> Files:
    members, left_out = tar_members(archive)
    notes.count(f"links or unsafe names in {archive} ignored", left_out)
    return _with_class_tars(members.items(), notes)


def _with_class_tars(files: Iterable[tuple[str, str]], notes: Notes) -> Files:
    """The files, with those of class tars in place of the tars; nothing is unpacked."""
    tars = []
    for name, uri in files:
        if _is_class_tar(name):
            tars.append((name, uri))
        else:
            yield name, uri
    with ThreadPoolExecutor(16) as pool:  # mostly waits for a disk or an object store
        for (name, _), found in zip(tars, pool.map(_members, (uri for _, uri in tars)), strict=True):
            if isinstance(found, DataError):
                notes.count("class tars cannot be read: their images are left out", example=str(found))
                continue
            members, left_out = found
            notes.count("links or unsafe names in class tars ignored", left_out, example=name)
            folder = basename(name).partition(".")[0]
            yield from ((f"{folder}/{basename(member)}", uri) for member, uri in members.items())


def _members(uri: str) -> tuple[dict[str, str], int] | DataError:
    try:
        return tar_members(uri)
    except StorageError:
        raise
    except DataError as error:
        return error


def _images(root: str, files: Files, notes: Notes) -> list[Image]:
    """The images among files, without those that occur twice."""
    uris = dict(files)
    found = find_images(uris)
    images, others = [], 0
    for name in sorted(found.names):
        stem, _ = splitext(basename(name))
        parsed = TRAIN_STEM.fullmatch(stem)
        if parsed is None:
            others += 1
            continue
        wnid, number = parsed[1], int(parsed[2])
        label = labels_by_wnid().get(wnid, -1)
        folder = wnid_of(basename(name.rpartition("/")[0]))
        notes.count("images lie in another class's folder: their name decides", folder not in ("", wnid), example=name)
        notes.count("images are of a wnid outside the 1000 classes: they have no label", label < 0, example=name)
        first = label if label >= 0 else int(wnid[1:])
        images.append(Image(first * _PER_CLASS + number, name, uris[name], stem, label))
    notes.count("images are not named n########_#: left out", others)
    if not images:
        raise _nothing(root)
    return once(images, notes)


def _nothing(root: str) -> DataError:
    return DataError(
        f"no image under {root} is named n########_#, in class folders, class tars or ILSVRC2012_img_train.tar; the "
        "format imagefolder reads other images",
        about="root",
    )
