"""The demo's digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """What the reader can be told.

    Attributes:
        split: ``eval``, or ``train`` to see the digits that the demo's network learnt from.
    """

    split: Literal["eval", "train"] = "eval"
