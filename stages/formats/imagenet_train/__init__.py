"""Format of the ILSVRC2012 training set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of the reader: there are none."""
