"""The ILSVRC2012 validation set as people have it: a tar, a flat folder, class folders, Kaggle's tree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from stages.classes import imagenet_classes
from stages.errors import ConfigurationError, DataError
from stages.formats.folder import WNID, Found, dataset, find_images, require_folder
from stages.formats.imagenet.annotations import Annotation, labels_by_wnid, read_annotations
from stages.ingest.paths import basename, join
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.tar import tar_members
from stages.ingest.uris import is_file, list_folder

__all__ = ["read", "read_annotations"]

_TAR = "ILSVRC2012_img_val.tar"
_FOLDERS = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "")
# The number is the image id; some copies carry the class in the name.
_STEM = re.compile(r"(ILSVRC2012_val_(\d+))(?:_(n\d{8}))?")


def read(root: str, split: str) -> Dataset:
    """Read the validation set, whole or in part.

    The images are the first of: the root itself, if it is a tar file; ``ILSVRC2012_img_val.tar``, read in
    place; ``ILSVRC/Data/CLS-LOC/val``; ``Data/CLS-LOC/val``; ``val``; the root. Folders may be flat or have
    one folder a wnid. For the annotations see :func:`stages.formats.imagenet.annotations.read_annotations`; where
    they have no label the folder's wnid is used.

    Raises:
        ConfigurationError: Another split.
        DataError: Missing root, no images, two files of one image, malformed annotations.
    """
    if split != "val":
        raise ConfigurationError(f"data.split {split!r}: imagenet reads val; use imagefolder or coco")
    images, notes = _images(root)
    annotations, findings = read_annotations(root)
    joined = _Join(annotations)
    records = [joined.record(image) for image in images]
    absent = len(annotations) - len(joined.used)
    if absent:
        notes.append(f"{absent:,} of {len(annotations):,} annotated images are not in {root}")
    if not annotations:
        notes.append(f"no annotations in {root}: no boxes, and no labels but those of the folders")
    return dataset(imagenet_classes(), records, [*notes, *findings, *joined.notes()])


class _Image(NamedTuple):
    """One validation image: what its name and place say."""

    name: str
    uri: str
    stem: str
    number: int
    wnid: str


def _images(root: str) -> tuple[list[_Image], list[str]]:
    """The validation images of the first layout that has any, and findings."""
    if is_file(root) and not _is_tar(root):
        raise DataError(f"data.root: {root} is neither a folder nor a tar file of images")
    found = Found()
    for uris, notes in _layouts(root):
        found = find_images(uris)
        images = [image for name in found.names if (image := _image(name, uris[name]))]
        if images:
            if others := len(found.names) - len(images):
                notes.append(f"skipped {others:,} images that are not named ILSVRC2012_val_########")
            return images, notes
    found.require(root)
    raise DataError(
        f"data.root: no image under {root} is named ILSVRC2012_val_########; "
        "use data.format=imagefolder for other images"
    )


def _layouts(root: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Files and findings of each place that may hold the images: uri by name relative to the root or tar."""
    for archive in (root, join(root, _TAR)):
        if _is_tar(archive) and is_file(archive):
            members, left_out = tar_members(archive)
            yield members, [f"{left_out:,} links or unsafe names in {archive} ignored"] if left_out else []
    if _is_tar(root) and is_file(root):
        return
    require_folder(root)
    for folder in _FOLDERS:
        names = (f"{folder}/{name}" if folder else name for name in _two_levels(join(root, folder)))
        yield {name: join(root, name) for name in names}, []


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
    """The files of a folder and of the class folders in it."""
    folders, files = list_folder(folder)
    for wnid in filter(WNID.fullmatch, folders):
        files += [f"{wnid}/{name}" for name in list_folder(join(folder, wnid))[1]]
    return files


@dataclass
class _Join:
    """Images to their annotations, by the stem of their names."""

    annotations: dict[str, Annotation]
    used: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def record(self, image: _Image) -> ImageRecord:
        label = labels_by_wnid().get(image.wnid, -1)
        self.seen["images lie in a folder of a wnid outside the 1000 classes"] += image.wnid != "" and label < 0
        annotation = self.annotations.get(image.stem)
        if annotation is None:
            self.seen["images have no annotation"] += bool(self.annotations)
            return ImageRecord(image.number, image.uri, image.name, label)
        self.used.add(image.stem)
        if annotation.label >= 0:
            differs = label >= 0 and label != annotation.label
            self.seen["images lie in another class's folder: their annotation decides"] += differs
            label = annotation.label
        known = (annotation.width, annotation.height, annotation.boxes, annotation.box_labels)
        return ImageRecord(image.number, image.uri, image.name, label, *known)

    def notes(self) -> list[str]:
        return [f"{count:,} {what}" for what, count in self.seen.items() if count]
