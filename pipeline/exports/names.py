"""Names of images in an export: below its folder, one for each image, and for each stem where the format wants that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from stages.errors import ConfigurationError

_BY_STEM = frozenset({"fiftyone", "voc", "yolo"})
"""Formats that name the labels of an image by its name without the extension."""


def export_names(names: Iterable[str], format: str, flatten: bool) -> dict[str, str]:
    """The name in the export by the name in the dataset.

    Args:
        names: Names as the dataset has them: usually relative paths.
        format: The format of the export.
        flatten: Whether sub-folders become a part of the name, ``a/b.jpg`` as ``a__b.jpg``; of images that would have
            one name or stem, all but the first then get a number.

    Raises:
        ConfigurationError: Two images would have one name, or one stem where the format goes by it.

    >>> export_names(["a/b.jpg", "/data/c.png", "../d.png"], "coco", flatten=False)
    {'a/b.jpg': 'a/b.jpg', '/data/c.png': 'data/c.png', '../d.png': 'd.png'}
    >>> export_names(["a/b.jpg", "a__b.png"], "yolo", flatten=True)
    {'a/b.jpg': 'a__b.jpg', 'a__b.png': 'a__b__2.png'}
    """
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
        path = PurePosixPath("__".join(parts) if flatten else "/".join(parts))
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
        found[name] = str(chosen)
    return found


def _key(path: PurePosixPath, format: str) -> str:
    """What must be unique, also on disks that do not distinguish capital letters."""
    return str(path.with_suffix("") if format in _BY_STEM else path).casefold()
