"""COCO: one annotation file, and results lists."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part of the names of the annotation file, such as ``instances_SPLIT.json``, and of the image folder.
    """

    split: str = "val"
