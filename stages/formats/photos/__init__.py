"""Photographs of an installed package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The reader can be told nothing."""
