"""ILSVRC2012."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """What the reader can be told.

    Attributes:
        split: Only the validation set is read.
    """

    split: Literal["val"] = "val"
