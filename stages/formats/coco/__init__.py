"""COCO: one annotation file, and results lists."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What the reader can be told.

    Attributes:
        split: Names the annotation file, such as ``instances_SPLIT.json``, and the folder of images.
    """

    split: str = "val"
