"""Reader of the ILSVRC2012 validation set: its images, joined to their annotations and labels."""

from __future__ import annotations

from collections.abc import Iterator

from stages.classes import imagenet_classes
from stages.formats.imagenet import Options, images
from stages.formats.imagenet.annotations import Annotation, read_annotations
from stages.formats.imagenet.images import Image
from stages.formats.imagenet.label_lists import read_labels
from stages.formats.source import Notes, Source
from stages.ingest.records import ImageRecord


def read(root: str, options: Options) -> Source:
    """Read the validation set, whole or in part, or another set of images in folders of its classes.

    For the images see :func:`stages.formats.imagenet.images.find`, for the annotations
    :func:`stages.formats.imagenet.annotations.read_annotations`; where these have no label, the class of the image's
    folder is used, and then the lists of :func:`stages.formats.imagenet.label_lists.read_labels`.

    Args:
        root: Local path or uri of a folder or tar file.
        options: The part to read; there is only one.

    Raises:
        DataError: Missing root, no images, or annotations that are incomplete or not what their names say.
    """
    notes = Notes()
    found = images.find(root, notes)
    annotations, findings = read_annotations(root)
    absent = len(annotations.keys() - {image.key for image in found})
    if absent:
        notes.say(f"{absent:,} of {len(annotations):,} annotated images are not in {root}")
    findings_of_lists = Notes()
    listed = read_labels(root, findings_of_lists)
    if not annotations:
        others = "of the folders and lists" if listed else "of the folders"
        notes.say(f"no annotations in {root}: no boxes, and only the labels {others}")
    notes.extend(findings)
    notes.extend(findings_of_lists)
    return Source(imagenet_classes(), _records(found, annotations, listed, notes), notes)


def _records(
    found: list[Image], annotations: dict[str, Annotation], listed: dict[str, int], notes: Notes
) -> Iterator[ImageRecord]:
    """The images with their annotations; of contradicting labels the annotation's decides, then the folder's."""
    labelled = bool(annotations or listed or any(image.label >= 0 for image in found))
    for image in found:
        annotation = annotations.get(image.key)
        notes.count("images have no annotation", bool(annotations) and annotation is None)
        label = annotation.label if annotation else -1
        differs = -1 not in (label, image.label) and label != image.label
        notes.count("images lie in another class's folder: their annotation decides", differs)
        label = label if label >= 0 else image.label
        in_list = listed.get(image.key, -1)
        differs = -1 not in (label, in_list) and label != in_list
        notes.count("images have another label in a list than in their annotation or folder, which decides", differs)
        label = label if label >= 0 else in_list
        notes.count("images have no label", labelled and label < 0)
        size_and_boxes = (
            (annotation.width, annotation.height, annotation.boxes, annotation.box_labels) if annotation else ()
        )
        yield ImageRecord(image.number, image.uri, image.name, label, *size_and_boxes)
