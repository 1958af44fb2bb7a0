"""COCO: one annotation file, and results lists."""

from __future__ import annotations

from dataclasses import dataclass

from stages.formats.coco.box_format import BoxFormat


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part of the names of the annotation file, such as ``instances_SPLIT.json``, and of the image folder.
        box_format: What the four numbers of ``bbox`` are; ``auto`` is COCO's x, y, width, height in pixels, refused
            where the boxes show another convention.
        allow_outside: Whether images outside the root are read, which names that are absolute or climb with ``..`` may
            mean; a file of strangers could name any picture of this machine.
    """

    split: str = "val"
    box_format: BoxFormat = "auto"
    allow_outside: bool = False
