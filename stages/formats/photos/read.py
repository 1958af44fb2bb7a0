"""Reader of a handful of photographs that scikit-image contains, with boxes drawn by hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.classes import imagenet_classes
from stages.errors import DataError
from stages.formats.photos import Options
from stages.formats.source import Source
from stages.ingest.records import ImageRecord


class _Photo(NamedTuple):
    file_name: str
    wnid: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]


# The class is what the picture shows, not what a network predicts.
_PHOTOS = (
    _Photo("chelsea.png", "n02123045", (451, 300), (0, 0, 400, 300)),  # tabby
    _Photo("coffee.png", "n07920052", (600, 400), (173, 18, 408, 307)),  # espresso, with its cup
    _Photo("camera.png", "n04485082", (512, 512), (230, 187, 406, 512)),  # tripod
    _Photo("astronaut.png", "n04266014", (512, 512), (354, 0, 460, 274)),  # space shuttle, a model of it
    _Photo("rocket.jpg", "n03773504", (640, 427), (311, 127, 334, 407)),  # missile: no class is nearer
    _Photo("motorcycle_left.png", "n03785016", (741, 500), (92, 15, 684, 453)),  # moped: none is nearer
)


def read(root: str, options: Options) -> Source:
    """The photographs inside the installed package; labels are ImageNet's, by output index.

    Args:
        root: Ignored.
        options: Ignored; there are none.

    Raises:
        DataError: scikit-image is missing, or does not contain one of the files.
    """
    return Source(imagenet_classes(), _records(_folder()))


def _records(folder: Path) -> Iterator[ImageRecord]:
    index_of = {info.wnid: index for index, info in enumerate(imagenet_classes())}
    for image_id, photo in enumerate(_PHOTOS, start=1):
        path = folder / photo.file_name
        if not path.is_file():
            raise DataError(f"no file {path}; pip install --upgrade scikit-image")
        label = index_of[photo.wnid]
        yield ImageRecord(
            image_id=image_id,
            uri=str(path),
            file_name=photo.file_name,
            label=label,
            width=photo.size[0],
            height=photo.size[1],
            boxes=np.array([photo.box], np.float32),
            box_labels=np.array([label], np.int32),
        )


def _folder() -> Path:
    # Located, not imported: importing scikit-image takes longer than everything else here.
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise DataError("the photographs come with a package that is missing: pip install scikit-image")
    return Path(package.submodule_search_locations[0], "data")
