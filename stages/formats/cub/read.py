"""Reader of CUB-200-2011: the published tree, or the lists of wsolevaluation beside the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.class_folders import folder_of, label_of, names_of_classes
from stages.formats.cub import Options
from stages.formats.cub.tree import find_tree, read_tree
from stages.formats.folder import find_images, require_folder
from stages.formats.inclusive import half_open
from stages.formats.named_files import find_named
from stages.formats.source import Notes, Source
from stages.formats.wsol import BOX, find_lists, read_entries
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.uris import walk

_CLASSES = 200


class Bird(NamedTuple):
    """What the annotations say of one image.

    Attributes:
        image_id: Its number in the published tree, or its place in the list.
        name: Its name, whose first part is the folder of its class.
        label: Index of its class; -1 where it is unknown.
        width: Width in pixels; 0 where it is unknown.
        height: Height in pixels; 0 where it is unknown.
        corners: Inclusive edges xmin, ymin, xmax, ymax of its boxes.
    """

    image_id: int
    name: str
    label: int
    width: int
    height: int
    corners: list[list[float]]


def read(root: str, options: Options) -> Source:
    """Read one part, with images that may lie anywhere below the root.

    ``train`` and ``test`` come from the published tree (``images.txt`` and the files beside it) where there is one,
    and else, as ``val`` always does, from wsolevaluation's ``image_ids.txt`` and the files beside it. Boxes include
    their last pixels: no edge x + width of the published boxes reaches the width of the image. Classes are those of
    ``classes.txt``, or the folders in the names of the images.

    Args:
        root: Local path or uri of a folder.
        options: The part to read.

    Raises:
        ConfigurationError: There is no such part.
        DataError: The root is missing or has neither form of annotations.
    """
    require_folder(root)
    files, notes = walk(root), Notes()
    tree = find_tree(files)
    lists = any("image_ids.txt" in file for file in files)
    if tree is None and not lists:
        raise DataError(
            f"neither the images.txt of CUB_200_2011 nor wsolevaluation's image_ids.txt is under {root}; name the "
            "folder that has one of them and the images",
            about="root",
        )
    if tree is not None and options.split == "val" and not lists:
        raise DataError(
            f"the published tree {join(root, tree)} has no part val, which is CUBV2; put wsolevaluation's "
            "metadata/CUB/val and its images below the root",
            about="split",
        )
    if tree is not None and options.split != "val":
        classes, birds = _published(root, tree, files, options.split == "train", notes)
    else:
        classes, birds = _listed(root, files, options.split, notes)
    if not birds:
        raise DataError(f"the annotations under {root} name no image of the part {options.split}", about="root")
    return Source([ClassInfo(name) for name in classes], _records(root, files, classes, birds, notes), notes)


def _published(root: str, tree: str, files: Sequence[str], train: bool, notes: Notes) -> tuple[list[str], list[Bird]]:
    """Classes and images of the published tree."""
    found = read_tree(root, tree, files, train, notes)
    index = {key: at for at, key in enumerate(sorted(found.classes))}
    classes = [found.classes[key] for key in index] or sorted({folder_of(one) for one in found.names.values()})
    birds = []
    for key, name in found.names.items():
        given = found.labels.get(key) if index else None
        notes.count("images have a class that is not in classes.txt", given is not None and given not in index)
        corners = [found.boxes[key]] if key in found.boxes else []
        birds.append(Bird(key, name, -1 if given is None else index.get(given, -1), 0, 0, corners))
    return classes, birds


def _listed(root: str, files: Sequence[str], split: str, notes: Notes) -> tuple[list[str], list[Bird]]:
    """Classes and images of wsolevaluation's lists."""
    folder, lists = find_lists(root, files, "cub", split)
    entries = read_entries(folder, lists, _CLASSES, BOX, notes, optional=("image_sizes.txt", "localization.txt"))
    birds = [
        Bird(place, one.name, one.label, one.width, one.height, one.rows) for place, one in enumerate(entries, start=1)
    ]
    return names_of_classes((bird.name, bird.label) for bird in birds), birds


def _records(
    root: str, files: Sequence[str], classes: Sequence[str], birds: Sequence[Bird], notes: Notes
) -> Iterator[ImageRecord]:
    """The images; the class of one that has none is that of its folder."""
    index = {name: label for label, name in enumerate(classes)}
    found = find_named(root, find_images(files).names, [bird.name for bird in birds], "images", notes)
    for bird in birds:
        label = label_of(bird.name, bird.label, index, notes)
        notes.count("images have no box", not bird.corners)
        boxes, _ = half_open(bird.corners, bird.width, bird.height, notes)
        labels = np.full(len(boxes), label, dtype=np.int32)
        file = found[bird.name]
        yield ImageRecord(bird.image_id, join(root, file), file, label, bird.width, bird.height, boxes, labels)
