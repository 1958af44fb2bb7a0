"""Format of CUB-200-2011 and of its second validation set, CUBV2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read. ``val`` is CUBV2, of which only wsolevaluation's files say the boxes.
    """

    split: Literal["test", "train", "val"] = "test"
