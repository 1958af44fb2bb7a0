"""What the numbers of boxes are where pixels are counted."""

from __future__ import annotations

SHIFTS = {"one": (-1, -1, 0, 0), "zero": (0, 0, 1, 1), "edges": (0, 0, 0, 0)}
"""What to add to xmin, ymin, xmax, ymax for half-open edges: ``one`` and ``zero`` are the first and last pixel of a
box, counted from 1 or from 0, ``edges`` are such edges already."""
