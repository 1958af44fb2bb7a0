"""Reader of images and one COCO annotation file, wherever they lie in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.errors import DataError
from stages.formats.coco import Options
from stages.formats.coco.annotations import Annotations
from stages.formats.coco.box_format import BoxFormat
from stages.formats.coco.file import parse
from stages.formats.coco.images import clean, find_files
from stages.formats.coco.layout import find_annotations
from stages.formats.coco.listed import Listed
from stages.formats.source import Notes, Source
from stages.ingest.paths import join
from stages.ingest.records import Dataset
from stages.ingest.uris import is_file


def read(root: str, options: Options) -> Source:
    """Read the COCO dataset in a folder.

    :func:`stages.formats.coco.layout.find_annotations` says which file has the annotations,
    :func:`stages.formats.coco.images.find_files` where the images are. Classes are the categories by id. The
    label of an image is the category with the largest total box area, the lower class where two have the same;
    without boxes, the most frequent category of its annotations. Entries that cannot be used are counted.

    Args:
        root: Local path or uri of the folder, or of the annotation file.
        options: The part to read, and the convention of its boxes.

    Raises:
        DataError: Missing folder, annotations or images, or an annotation file that contradicts itself.
    """
    notes = Notes()
    place = find_annotations(root, options.split, notes)
    content = _load(place.name, join(place.root, place.name))
    found = Annotations(place.name, content, options.box_format, "box_format")
    names = [image["file_name"] for image in found.listed.images.values()]
    files = find_files(place, options, names, notes)
    found.notes.extend(notes)

    def whereabouts(name: str) -> tuple[str, str] | None:
        return (join(place.root, files[name]), files[name].lstrip("/")) if name in files else None

    return Source(found.listed.classes, found.records(whereabouts), found.notes)


@dataclass(frozen=True)
class GroundTruth:
    """An annotation file without its images.

    Attributes:
        dataset: Images of the file, which need not exist themselves.
        listed: Its images and categories by their ids.
        content: The file as COCO defines it, without the entries that cannot be used.
    """

    dataset: Dataset
    listed: Listed
    content: dict[str, Any]


def read_ground_truth(path: str, box_format: BoxFormat = "auto", likely: BoxFormat = "auto") -> GroundTruth:
    """Read an annotation file alone.

    Args:
        path: Local path or uri of the file.
        box_format: Convention of its boxes.
        likely: Convention that ``auto`` takes instead of xywh where the boxes show it.

    Raises:
        DataError: The file does not exist or contradicts itself.
    """
    if not is_file(path):
        raise DataError(f"no annotation file {path}", about="ground_truth")
    found = Annotations(path, _load(path, path), box_format, "ground_truth_box_format", likely)
    records = found.records(lambda name: (name, "/".join(clean(name))))
    return GroundTruth(Source(found.listed.classes, records, found.notes).collect(), found.listed, found.dataset())


def _load(name: str, uri: str) -> Any:
    try:
        return parse(uri)
    except ValueError as error:
        raise DataError(f"{name}: not valid JSON: {error}") from error
