"""Reader of the images of the ILSVRC2012 validation set, in any common layout, joined to their annotations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from stages.classes import imagenet_classes
from stages.errors import DataError
from stages.formats.folder import WNID, Found, find_images, require_folder
from stages.formats.imagenet import Options
from stages.formats.imagenet.annotations import Annotation, labels_by_wnid, read_annotations
from stages.formats.source import Notes, Source
from stages.ingest.paths import basename, join
from stages.ingest.records import ImageRecord
from stages.ingest.tar import tar_members
from stages.ingest.uris import is_file, list_folder

_TAR = "ILSVRC2012_img_val.tar"
_FOLDERS = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "")
# The number is the image id; some copies carry the class in the name.
_STEM = re.compile(r"(ILSVRC2012_val_(\d+))(?:_(n\d{8}))?")


def read(root: str, options: Options) -> Source:
    """Read the validation set, whole or in part.

    The images are the first of: the root itself, if it is a tar file; ``ILSVRC2012_img_val.tar``, read in
    place; ``ILSVRC/Data/CLS-LOC/val``; ``Data/CLS-LOC/val``; ``val``; the root. Folders may be flat or have one
    folder per wnid. For the annotations see :func:`stages.formats.imagenet.annotations.read_annotations`; where
    these have no label, the folder's wnid is used.

    Args:
        root: Local path or uri of a folder or tar file.
        options: The part to read; there is only one.

    Raises:
        DataError: Missing root, no images, or annotations that are incomplete or not what their names say.
    """
    notes = Notes()
    images = _images(root, notes)
    annotations, findings = read_annotations(root)
    absent = len(annotations.keys() - {image.stem for image in images})
    if absent:
        notes.say(f"{absent:,} of {len(annotations):,} annotated images are not in {root}")
    if not annotations:
        notes.say(f"no annotations in {root}: no boxes, and only the labels of the folders")
    notes.extend(findings)
    return Source(imagenet_classes(), (_record(image, annotations, notes) for image in images), notes)


class _Image(NamedTuple):
    """One validation image, described by its name and location."""

    name: str
    uri: str
    stem: str
    number: int
    wnid: str


def _images(root: str, notes: Notes) -> list[_Image]:
    """The validation images of the first layout that has any."""
    if is_file(root) and not _is_tar(root):
        raise DataError(f"{root} is neither a folder nor a tar file of images", about="root")
    found = Found()
    for uris, finding in _layouts(root):
        found = find_images(uris)
        images = [image for name in found.names if (image := _image(name, uris[name]))]
        if images:
            notes.say(finding)
            if others := len(found.names) - len(images):
                notes.say(f"skipped {others:,} images that are not named ILSVRC2012_val_########")
            return images
    found.require(root)
    raise DataError(
        f"no image under {root} is named ILSVRC2012_val_########; the format imagefolder reads other images",
        about="root",
    )


def _layouts(root: str) -> Iterator[tuple[dict[str, str], str]]:
    """Files (uri by name relative to the root or tar) and finding of each place that may hold the images."""
    for archive in (root, join(root, _TAR)):
        if _is_tar(archive) and is_file(archive):
            members, left_out = tar_members(archive)
            yield members, f"{left_out:,} links or unsafe names in {archive} ignored" if left_out else ""
    if _is_tar(root) and is_file(root):
        return
    require_folder(root)
    for folder in _FOLDERS:
        names = (f"{folder}/{name}" if folder else name for name in _two_levels(join(root, folder)))
        yield {name: join(root, name) for name in names}, ""


def _is_tar(uri: str) -> bool:
    return basename(uri).lower().endswith(".tar")


def _image(name: str, uri: str) -> _Image | None:
    path = PurePosixPath(name)
    parsed = _STEM.fullmatch(path.stem)
    if parsed is None:
        return None
    stem, number, wnid = parsed.groups(default="")
    if not wnid and WNID.fullmatch(path.parent.name):
        wnid = path.parent.name
    return _Image(name, uri, stem, int(number), wnid)


def _two_levels(folder: str) -> list[str]:
    """The files of a folder and of its class folders."""
    folders, files = list_folder(folder)
    for wnid in filter(WNID.fullmatch, folders):
        files += [f"{wnid}/{name}" for name in list_folder(join(folder, wnid))[1]]
    return files


def _record(image: _Image, annotations: dict[str, Annotation], notes: Notes) -> ImageRecord:
    """An image with its annotation, found by the stem of its name."""
    label = labels_by_wnid().get(image.wnid, -1)
    notes.count("images lie in a folder of a wnid outside the 1000 classes", image.wnid != "" and label < 0)
    annotation = annotations.get(image.stem)
    if annotation is None:
        notes.count("images have no annotation", bool(annotations))
        return ImageRecord(image.number, image.uri, image.name, label)
    if annotation.label >= 0:
        differs = label >= 0 and label != annotation.label
        notes.count("images lie in another class's folder: their annotation decides", differs)
        label = annotation.label
    known = (annotation.width, annotation.height, annotation.boxes, annotation.box_labels)
    return ImageRecord(image.number, image.uri, image.name, label, *known)
