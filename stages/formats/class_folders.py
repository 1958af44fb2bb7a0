"""Classes that the files of a dataset number, and the folders of its images name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from stages.formats.source import Notes


def folder_of(name: str) -> str:
    """The folder that an image lies in, which is called like its class.

    >>> folder_of("test/01226z/7af766bd43da900b.jpg")
    '01226z'
    """
    return PurePosixPath(name).parent.name


def names_of_classes(images: Iterable[tuple[str, int]]) -> list[str]:
    """Names of the classes up to the last that occurs: that of a class is the folder of its first image.

    Args:
        images: Names of images, and the numbers of their classes from 0, or -1.

    >>> names_of_classes([("ant/1.jpg", 0), ("wasp/2.jpg", 2)])
    ['ant', 'class 1', 'wasp']
    """
    named: dict[int, str] = {}
    for name, label in images:
        if label >= 0 and label not in named and folder_of(name) not in named.values():
            named[label] = folder_of(name)
    return [named.get(label, f"class {label}") for label in range(max(named, default=-1) + 1)]


def label_of(name: str, given: int, index: Mapping[str, int], notes: Notes) -> int:
    """The class of an image: the one that the files give, or else that of its folder.

    Args:
        name: Name of the image.
        given: The class that the files give; -1 where they give none.
        index: Classes by name.
        notes: Told of images without a class, or with two.

    Returns:
        The class; -1 where there is none.
    """
    folder = index.get(folder_of(name), -1)
    differ = -1 not in (given, folder) and given != folder
    notes.count("images lie in another class's folder: their label decides", differ)
    notes.count("images have no label in the files: their folder's class is taken", given < 0 <= folder)
    notes.count("images have no label", max(given, folder) < 0)
    return given if given >= 0 else folder
