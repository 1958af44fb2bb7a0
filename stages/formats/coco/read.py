"""Reader of images and one COCO annotation file, wherever they lie in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from stages.errors import DataError
from stages.formats.coco import Options
from stages.formats.coco.annotations import Annotations
from stages.formats.folder import require_folder
from stages.formats.source import Source
from stages.ingest.paths import join
from stages.ingest.records import Dataset
from stages.ingest.uris import is_file, list_folder, read_bytes

_PROBED = 50


def read(root: str, options: Options) -> Source:
    """Read the COCO dataset in a folder.

    The annotations are the first of ``annotations.json``, ``annotations/instances_SPLIT.json``,
    ``_annotations.coco.json``, ``SPLIT/_annotations.coco.json``, ``SPLIT.json`` and the only ``*.json``.
    File names are relative to the root, ``images``, ``SPLIT`` or the folder of the annotations: whichever has
    the most images. Classes are the categories by id. The label of an image is the category with the largest
    total box area, the lower class where two have the same. Entries that cannot be used are counted.

    Args:
        root: Local path or uri of the folder.
        options: The part to read.

    Raises:
        DataError: Missing folder, annotations or images, or an annotation file that contradicts itself.
    """
    require_folder(root)
    name = _annotation_file(root, options.split)
    found = Annotations(name, _load(name, join(root, name)))
    folder = _image_folder(root, options.split, name, [image["file_name"] for image in found.images.values()])

    def place(file_name: str) -> tuple[str, str]:
        return _below(root, folder, file_name), str(PurePosixPath(folder, file_name))

    return Source(found.classes, found.records(place), found.notes)


@dataclass(frozen=True)
class GroundTruth:
    """An annotation file without its images.

    Attributes:
        dataset: Images of the file, which need not exist themselves.
        categories: The category id of each class.
        content: The parsed file, without the entries that cannot be used.
    """

    dataset: Dataset
    categories: list[int]
    content: dict[str, Any]


def read_ground_truth(path: str) -> GroundTruth:
    """Read an annotation file alone.

    Args:
        path: Local path or uri of the file.

    Raises:
        DataError: The file does not exist or contradicts itself.
    """
    if not is_file(path):
        raise DataError(f"no annotation file {path}", about="ground_truth")
    found = Annotations(path, _load(path, path))
    records = found.records(lambda name: (name, str(PurePosixPath(name))))
    return GroundTruth(Source(found.classes, records, found.notes).collect(), found.categories, found.content)


def _annotation_file(root: str, split: str) -> str:
    usual = [
        "annotations.json",
        f"annotations/instances_{split}.json",
        "_annotations.coco.json",
        f"{split}/_annotations.coco.json",
        f"{split}.json",
    ]
    for name in usual:
        if is_file(join(root, name)):
            return name
    others = [name for name in list_folder(root)[1] if name.lower().endswith(".json")]
    if len(others) != 1:
        what = f"several annotation files: {', '.join(others[:5])}" if others else "no annotation file"
        raise DataError(f"{root} has {what}; name the right one annotations.json", about="root")
    return others[0]


def _load(name: str, uri: str) -> Any:
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise DataError(f"{name}: not valid JSON: {error}") from error


def _image_folder(root: str, split: str, annotation_file: str, file_names: list[str]) -> str:
    """The folder below the root ("" for the root) that has the most images, probed on some of them."""
    probed = file_names[:: max(1, len(file_names) // _PROBED)]
    beside = str(PurePosixPath(annotation_file).parent)
    folders = dict.fromkeys(["", "images", split, f"images/{split}", "" if beside == "." else beside])
    hits: dict[str, int] = {}
    for folder in folders:
        hits[folder] = sum(is_file(_below(root, folder, name)) for name in probed)
        if hits[folder] == len(probed):
            break
    best = max(hits, key=lambda folder: hits[folder])
    if not hits[best]:
        raise DataError(f"{annotation_file}: none of its images is under {root}, such as {probed[0]}")
    return best


def _below(root: str, folder: str, name: str) -> str:
    return join(join(root, folder), name)
