"""Format of the demo's digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: ``eval``, or ``train`` for the digits that the demo's network was trained on.
    """

    split: Literal["eval", "train"] = "eval"
