"""The ILSVRC2012 validation set as people have it: a tar, a flat folder, class folders, Kaggle's tree."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from stages.classify.imagenet import imagenet_classes
from stages.errors import ConfigurationError, DataError
from stages.ingest.dataset import Dataset, ImageRecord
from stages.ingest.formats.folder import WNID, Found, dataset, find_images, require_folder
from stages.ingest.formats.ilsvrc import Annotation, labels_by_wnid, read_annotations
from stages.ingest.source import is_file, join, list_folder
from stages.ingest.tar import tar_members

__all__ = ["read", "read_annotations"]

_TAR = "ILSVRC2012_img_val.tar"
_FOLDERS = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "")
# The number is the image id; some copies carry the class in the name.
_STEM = re.compile(r"(ILSVRC2012_val_(\d+))(?:_(n\d{8}))?")


def read(root: str, split: str) -> Dataset:
    """Read the validation set, whole or in part.

    The images are the first of: the root itself, if it is a tar file; ``ILSVRC2012_img_val.tar``, read in
    place; ``ILSVRC/Data/CLS-LOC/val``; ``Data/CLS-LOC/val``; ``val``; the root. Folders may be flat or have
    one folder a wnid. For the annotations see :func:`stages.ingest.formats.ilsvrc.read_annotations`; where
    they have no label the folder's wnid is used.

    Raises:
        ConfigurationError: Another split.
        DataError: Missing root, no images, two files of one image, malformed annotations.
    """
    if split != "val":
        raise ConfigurationError(f"data.split {split!r}: imagenet reads val; use imagefolder or coco")
    uris, notes = _images(root)
    annotations, findings = read_annotations(root)
    joined = _Join(annotations)
    records = [joined.record(name, uri) for name, uri in uris.items()]
    absent = len(annotations) - len(joined.used)
    if absent:
        notes.append(f"{absent:,} of {len(annotations):,} annotated images are not in {root}")
    if not annotations:
        notes.append(f"no annotations in {root}: no boxes, and no labels but those of the folders")
    return dataset(imagenet_classes(), records, [*notes, *findings, *joined.notes()])


def _images(root: str) -> tuple[dict[str, str], list[str]]:
    """uri of each validation image by its name relative to the root (or in the tar), and findings."""
    if is_file(root) and not root.endswith(".tar"):
        raise DataError(f"data.root: {root} is neither a folder nor a tar file of images")
    for archive in (root, join(root, _TAR)):
        if archive.endswith(".tar") and is_file(archive):
            members, left_out = tar_members(archive)
            found = find_images(members)
            notes = [f"{left_out:,} links or unsafe names in {archive} ignored"] if left_out else []
            return _validation({name: members[name] for name in found.names}, found, archive, notes)
    require_folder(root)
    found = Found()
    for folder in _FOLDERS:
        found = find_images(_two_levels(join(root, folder)))
        prefix = f"{folder}/" if folder else ""
        if any(_STEM.fullmatch(PurePosixPath(name).stem) for name in found.names):
            uris = {prefix + name: join(join(root, folder), name) for name in found.names}
            return _validation(uris, found, root, [])
    found.require(root)
    raise DataError(
        f"data.root: no image under {root} is named ILSVRC2012_val_########; "
        "use data.format=imagefolder for other images"
    )


def _validation(
    uris: dict[str, str], found: Found, where: str, notes: list[str]
) -> tuple[dict[str, str], list[str]]:
    found.require(where)
    named = {name: uri for name, uri in uris.items() if _STEM.fullmatch(PurePosixPath(name).stem)}
    others = len(uris) - len(named)
    if not named:
        raise DataError(f"data.root: no image in {where} is named ILSVRC2012_val_########")
    if others:
        notes.append(f"skipped {others:,} images in {where} that are not named ILSVRC2012_val_########")
    return named, notes


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

    def record(self, name: str, uri: str) -> ImageRecord:
        path = PurePosixPath(name)
        stem, number, in_name = parsed.groups(default="")
        wnid = in_name or (path.parent.name if WNID.fullmatch(path.parent.name) else "")
        label = labels_by_wnid().get(wnid, -1)
        self.seen["images lie in a folder of a wnid outside the 1000 classes"] += bool(wnid) and label < 0
        image_id = int(number)
        annotation = self.annotations.get(stem)
        if annotation is None:
            self.seen["images have no annotation"] += bool(self.annotations)
            return ImageRecord(image_id, uri, name, label)
        self.used.add(stem)
        if annotation.label >= 0:
            differs = label >= 0 and label != annotation.label
            self.seen["images lie in another class's folder: their annotation decides"] += differs
            label = annotation.label
        known = (annotation.width, annotation.height, annotation.boxes, annotation.box_labels)
        return ImageRecord(image_id, uri, name, label, *known)

    def notes(self) -> list[str]:
        return [f"{count:,} {what}" for what, count in self.seen.items() if count]
