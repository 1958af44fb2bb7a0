"""A table of images with their labels, or of boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["auto", "edges", "one", "zero", "relative"]


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read: a value of the column ``split``, or the name of a table or its folder. Without ``val`` the
            default takes ``test``, then ``train``.
        origin: What the four numbers of a box are: ``edges``, half-open pixel edges; ``one``, its first and last pixel
            counted from 1; ``zero``, the same counted from 0; ``relative``, shares of the image. ``auto`` takes
            ``edges``, or ``relative`` where no number is above 1, and says what it took.
        labels: Whether labels are names, also those of digits, or the ``index`` of a line of ``classes.txt``.
    """

    split: str = "val"
    origin: Origin = "auto"
    labels: Literal["name", "index"] = "name"
