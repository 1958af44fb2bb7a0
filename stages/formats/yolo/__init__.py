"""YOLO: a text file of relative boxes for each image, and a file that says where the images are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read: a key of the dataset's file. Without ``val`` the default takes ``test``, then ``train``.
    """

    split: str = "val"
