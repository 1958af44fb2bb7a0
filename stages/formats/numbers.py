"""Numbers in the texts of annotation files."""

from __future__ import annotations

import math


def number(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: The text is none.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def whole(text: str) -> int:
    """A whole number, which may be written with decimals, as in ``500.0``.

    Raises:
        ValueError: The text is none.
    """
    value = number(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
