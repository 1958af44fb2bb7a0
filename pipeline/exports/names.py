"""Names of images in an export: below its folder, one for each image, and for each stem where the format wants that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from stages.errors import ConfigurationError

_BY_STEM = frozenset({"fiftyone", "voc", "yolo"})
"""Formats that name the labels of an image by its name without the extension."""
_LEFT_OUT = {"yolo": ("images",)}
"""Folders, by format, that its readers would take for their own."""


def export_names(names: Mapping[int, str], format: str, flatten: bool) -> dict[int, str]:
    """The name of each image in the export, by ``image_id``.

    Args:
        names: Names as the dataset has them: usually relative paths, which several images may share.
        format: The format of the export.
        flatten: Whether sub-folders become a part of the name, ``a/b.jpg`` as ``a__b.jpg``; of images that would have
            one name or stem, all but the first then get a number.

    Raises:
        ConfigurationError: Two images would have one name, or one stem where the format goes by it.

    >>> export_names({1: "a/b.jpg", 2: "/data/c.png", 3: "../d.png"}, "coco", flatten=False)
    {1: 'a/b.jpg', 2: 'data/c.png', 3: 'd.png'}
    >>> export_names({1: "images/a/b.jpg", 2: "a__b.png"}, "yolo", flatten=True)
    {1: 'images__a__b.jpg', 2: 'a__b.png'}
    """
    found: dict[int, str] = {}
    owners: dict[str, str] = {}
    for image, name in names.items():
        path = PurePosixPath(plain_name(name, format, flatten))
        chosen, number = path, 1
        while (key := _key(chosen, format)) in owners:
            if not flatten:
                what = "stem" if format in _BY_STEM else "name"
                raise ConfigurationError(
                    f"{owners[key]} and {name} would have one {what} in {format}; --flatten numbers such images"
                )
            number += 1
            chosen = path.with_stem(f"{path.stem}__{number}")
        owners[key] = name
        found[image] = str(chosen)
    return found


def plain_name(name: str, format: str, flatten: bool) -> str:
    """The name of an image in an export in which no other has the same.

    >>> plain_name("images/a/b.jpg", "yolo", flatten=False)
    'a/b.jpg'
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    if flatten:
        return "__".join(parts)
    return "/".join([*(part for part in parts[:-1] if part not in _LEFT_OUT.get(format, ())), *parts[-1:]])


def _key(path: PurePosixPath, format: str) -> str:
    """What must be unique, also on disks that do not distinguish capital letters."""
    return str(path.with_suffix("") if format in _BY_STEM else path).casefold()
