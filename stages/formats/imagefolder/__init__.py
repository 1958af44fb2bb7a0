"""Format of image folders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Folder to read, if the root has one of that name.
    """

    split: str = "val"
