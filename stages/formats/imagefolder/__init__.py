"""Folders of images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What the reader can be told.

    Attributes:
        split: Folder to read where the root has one of that name.
    """

    split: str = "val"
