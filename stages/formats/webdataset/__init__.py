"""WebDataset: shards that are tars, in which neighbouring files of one stem are a sample."""

from __future__ import annotations

from dataclasses import dataclass

from stages.formats.coco.box_format import BoxFormat


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read, where shards or their folders are called by parts; without ``val`` the default takes
            ``test``, then ``train``.
        box_format: What the four numbers of a box are; ``auto`` is x0, y0, x1, y1 in pixels for ``boxes``, and COCO's
            x, y, width, height for ``bbox``, refused where the boxes show another convention.
    """

    split: str = "val"
    box_format: BoxFormat = "auto"
