"""Format of ILSVRC2012."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read; only the validation set is supported.
    """

    split: Literal["val"] = "val"
