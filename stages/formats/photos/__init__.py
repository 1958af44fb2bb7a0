"""Format of the photographs in an installed package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of the reader: there are none."""
