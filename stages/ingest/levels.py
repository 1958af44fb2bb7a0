"""Black and white of images with more than 8 bits per sample, and their values as 8 bits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from stages.ingest.samples import Kind, Samples

Range = tuple[float, float]
"""Values that are shown as black and as white."""
Levels = Mapping[str, Range]
"""Ranges by name of a :class:`stages.ingest.samples.Kind`, and by :func:`alpha_of` it for its transparency."""

EVERY = "every"
"""Name of the range of all kinds."""
WHOLE: Range = (0.0, 65535.0)
"""Range of 16 bits."""

_BLOCK = 1 << 20


class Look(NamedTuple):
    """Values of one image.

    Attributes:
        kind: What its file says.
        low: Least finite value.
        high: Greatest finite value.
        fractions: Whether the values are floats.
        alpha: Greatest value of its transparency, None for none.
        finite: Whether all values are.
    """

    kind: Kind
    low: float
    high: float
    fractions: bool
    alpha: float | None
    finite: bool


def look(kind: Kind, samples: Samples) -> Look:
    """The extremes of an image's values."""
    values = samples.values
    fractions = bool(np.issubdtype(values.dtype, np.floating))
    ends: list[float] = []
    finite = True
    for rows in _blocks(values):
        seen = rows[np.isfinite(rows)] if fractions else rows
        finite &= seen.size == rows.size
        ends += [float(seen.min()), float(seen.max())] if seen.size else []
    alpha = None if samples.alpha is None else float(samples.alpha.max())
    return Look(kind, min(ends, default=0.0), max(ends, default=0.0), fractions, alpha, finite)


def white_of(bits: int) -> float:
    """Greatest value of a number of bits.

    >>> white_of(12), white_of(1)
    (4095.0, 1.0)
    """
    return 2.0**bits - 1


def alpha_of(name: str) -> str:
    """Name of the range of a kind's transparency."""
    return f"{name} alpha"


def range_between(low: float, high: float, fractions: bool = False) -> Range:
    """Black and white for values from ``low`` to ``high``.

    Whole numbers have the fewest bits that hold them, at least 8, and floats up to 1 are shares of white. Negative
    values, more than 16 bits, and floats that end between 1 and half of 8 bits have no such convention: they are
    stretched from the least to the greatest.

    >>> range_between(0, 4000), range_between(0, 17), range_between(0.1, 0.9, True), range_between(-1024, 3071)
    ((0.0, 4095.0), (0.0, 255.0), (0.0, 1.0), (-1024, 3071))
    """
    if fractions and low >= 0 and high <= 1:
        return 0.0, 1.0
    bits = max(8, round(high).bit_length())
    if low < 0 or bits > 16 or (fractions and high < 128):
        return low, high
    return 0.0, white_of(bits)


def decide(looks: Iterable[Look]) -> tuple[dict[str, Range], list[str]]:
    """Ranges for images that are scaled alike, and what there is to say of them.

    Images whose files say the same share a range. It follows from what they say unless most of them contradict it, and
    from the values of all of them where they say nothing.

    Args:
        looks: The images.

    Returns:
        The ranges of every kind, and a note on each kind.
    """
    groups: dict[str, list[Look]] = defaultdict(list)
    for one in looks:
        groups[one.kind.name].append(one)
    levels: dict[str, Range] = {}
    notes: list[str] = []
    for name, group in sorted(groups.items()):
        levels[name], doubts = _decided(group)
        notes.append("; ".join([_summary(name, group, levels[name]), *doubts]))
        if alphas := [one.alpha for one in group if one.alpha is not None]:
            levels[alpha_of(name)] = range_between(0.0, max(alphas))
    return levels, notes


def ranges_for(kind: Kind, samples: Samples, levels: Levels | None) -> tuple[Range, Range]:
    """Range of an image's values and of its transparency; decided on the image alone where the levels lack its kind."""
    known = levels or {}
    if EVERY in known:
        own = known[EVERY]
        return own, WHOLE if samples.alpha is not None and samples.alpha.max() > own[1] else own
    if kind.name not in known:
        known, _ = decide([look(kind, samples)])
    return known[kind.name], known.get(alpha_of(kind.name), WHOLE)


def in_8_bits(values: np.ndarray, levels: Range) -> np.ndarray:
    """Values as uint8: black is 0, white is 255, and what lies beyond is clipped. What is not finite becomes black."""
    shown = np.empty(values.shape, np.uint8)
    # A table of all values is much faster.
    table = _shown(np.arange(65536.0), levels) if values.dtype.kind == "u" and values.dtype.itemsize == 2 else None
    for rows, target in zip(_blocks(values), _blocks(shown), strict=True):
        target[:] = _shown(rows, levels) if table is None else np.take(table, rows)
    return shown


def _shown(values: np.ndarray, levels: Range) -> np.ndarray:
    black, white = levels
    share = (np.where(np.isfinite(values), values, black).astype(np.float64) - black) / (white - black or 1.0)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time, as views: what is computed of them would take several times the memory of the image."""
    rows = max(1, _BLOCK // max(1, values[:1].size))
    return (values[at : at + rows] for at in range(0, len(values), rows))


def beyond(looks: Iterable[Look], levels: Range) -> int:
    """Number of images with values below black or above white."""
    return sum(one.low < levels[0] or one.high > levels[1] for one in looks)


def _decided(group: list[Look]) -> tuple[Range, list[str]]:
    """Range of a kind, and what speaks against it."""
    low, high = min(one.low for one in group), max(one.high for one in group)
    fractions = group[0].fractions
    said = [(one.kind.low or 0.0, one.kind.high) for one in group if one.kind.high is not None]
    if not said:
        found = range_between(low, high, fractions)
        return found, _outshone(group, found)
    aligned, ends = group[0].kind.aligned, (min(one for one, _ in said), max(one for _, one in said))
    found = ends if aligned else range_between(*ends, fractions)
    clipped = beyond(group, found)
    if 2 * clipped <= len(group):
        return found, [f"values beyond what the file says are clipped in {clipped}"] if clipped else []
    if aligned:
        return WHOLE, []
    return range_between(low, high, fractions), [f"not what the files say, beyond which are the values of {clipped}"]


def _outshone(group: list[Look], found: Range) -> list[str]:
    """Doubts of a range that not all images need: those that have two bits less are a quarter of them or more."""
    dim = [one for one in group if 4 * one.high < found[1]]
    if found[1] <= white_of(8) or 4 * len(dim) < len(group):
        return []
    return [f"{len(dim)} of them end at {max(one.high for one in dim):g} or below and look dark"]


def _summary(name: str, group: list[Look], found: Range) -> str:
    low, high = min(one.low for one in group), max(one.high for one in group)
    black = f"{found[0]:g} is shown as black and " if found[0] else ""
    odd = sum(not one.finite for one in group)
    infinite = f" ({odd} with values that are not finite, shown as black)" if odd else ""
    many = f"{len(group)} images" if len(group) > 1 else "1 image"
    return f"{many} of {name}{infinite}: values from {low:g} to {high:g}, {black}{found[1]:g} is shown as white"
