"""Pascal VOC: an XML file for each image, and lists of the images of each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["auto", "one", "zero", "edges"]


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read, as in ``ImageSets/Main/SPLIT.txt``, or its folder where there are no lists; without ``val``
            the default takes the only list, or ``test``, ``trainval`` or ``train``.
        origin: What the four numbers of a box are: ``one``, its first and last pixel counted from 1, as published;
            ``zero``, the same counted from 0; ``edges``, half-open edges. ``auto`` takes ``one`` unless a box begins at
            0, and says what it took.
    """

    split: str = "val"
    origin: Origin = "auto"
