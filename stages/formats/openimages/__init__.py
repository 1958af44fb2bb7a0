"""Format of OpenImages30k, a part of OpenImages V5 with masks that wsolevaluation selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Options of the reader.

    Attributes:
        split: Part to read; ``train`` has labels only.
    """

    split: Literal["test", "val", "train"] = "test"
