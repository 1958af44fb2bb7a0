"""Reader of the ILSVRC2012 training set: its images, labelled by their names, with boxes where there are any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.classes import imagenet_classes
from stages.formats.imagenet.annotations import Annotation, read_annotations
from stages.formats.imagenet.images import Image
from stages.formats.imagenet_train import Options
from stages.formats.imagenet_train.images import find
from stages.formats.source import Notes, Source
from stages.ingest.records import ImageRecord, no_boxes


def read(root: str, options: Options) -> Source:
    """Read the training set, whole or in part.

    For the images see :func:`stages.formats.imagenet_train.images.find`, for the boxes
    :func:`stages.formats.imagenet.annotations.read_annotations`. About half of the images have boxes; that an image
    has none says nothing about what it shows.

    Args:
        root: Local path or uri of a folder or tar file.
        options: There are none.

    Raises:
        DataError: Missing root, no images, or annotations that are not what their names say.
    """
    notes = Notes()
    images = find(root, notes)
    annotations, findings = read_annotations(root, "train")
    known = {image.key for image in images}
    absent = sum(key not in known for key in annotations)
    if annotations:
        boxed = len(annotations) - absent
        notes.say(f"{boxed:,} of {len(images):,} images are annotated with boxes; the others have labels only")
        notes.count(f"of {len(annotations):,} annotated images are not in {root}", absent)
    else:
        notes.say(f"no annotations in {root}: no boxes, and the labels of the names")
    notes.extend(findings)
    return Source(imagenet_classes(), _records(images, annotations, notes), notes)


def _records(images: list[Image], annotations: dict[str, Annotation], notes: Notes) -> Iterator[ImageRecord]:
    # A million images without boxes share these.
    boxes, labels = no_boxes(), np.zeros(0, np.int32)
    without = Annotation(-1, 0, 0, boxes, labels)
    for image in images:
        found = annotations.pop(image.key, without)
        differs = -1 not in (found.label, image.label) and found.label != image.label
        notes.count("images have boxes of another class than their name says, which is the label", differs)
        size_and_boxes = found.width, found.height, found.boxes, found.box_labels
        yield ImageRecord(image.number, image.uri, image.name, image.label, *size_and_boxes)
