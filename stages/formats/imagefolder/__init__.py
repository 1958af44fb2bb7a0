"""Format of image folders, and of images that are named one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read, where the root is divided into parts: the name of a folder, or ``val``, ``test`` or
            ``train`` for one that means the same. Without ``val`` the default takes ``test``, then ``train``.
    """

    split: str = "val"
