"""Hugging Face image datasets: Parquet files, and folders of images with a metadata table."""

from __future__ import annotations

from dataclasses import dataclass

from stages.formats.coco.box_format import BoxFormat


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read, as the names of files (``SPLIT-00000-of-00012``) or of their folders have it; without
            ``val`` the default takes ``test``, then ``train``.
        bbox_format: What the four numbers of a box are; ``auto`` is what the file says, and refused where it has boxes
            and says nothing, as nearly all.
    """

    split: str = "val"
    bbox_format: BoxFormat = "auto"
