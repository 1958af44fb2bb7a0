"""Numbers and ids of COCO files as programs write them: numbers as text, whole numbers as floats, ids as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]
Key = int | str
"""An id in one form, whichever form the file gives it in."""

_LARGEST = 10**18
_WHOLE = re.compile(r"[+-]?\d{1,18}(\.0*)?", re.ASCII)


def number(value: Any) -> float | None:
    """A finite number, also where it is text; None for anything else.

    >>> number("496"), number(1.5), number(None), number(True), number(float("nan"))
    (496.0, 1.5, None, None, None)
    """
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) not in (int, str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(values: Any) -> list[float] | None:
    """The four numbers of a box; None where it has others, or is no list."""
    if not isinstance(values, list) or len(values) != 4:
        return None
    found = [number(value) for value in values]
    return [one for one in found if one is not None] if None not in found else None


def flag(value: Any) -> bool:
    """Whether a flag such as ``iscrowd`` is set: 1, true, or either as text.

    >>> flag(1), flag("0"), flag("true"), flag(None)
    (True, False, True, False)
    """
    return bool(value) and (bool(number(value)) or str(value).lower() == "true")


def id_key(value: Any) -> Key | None:
    """An id as a whole number where it is one, else as text; None for what is no id.

    >>> id_key(139), id_key(139.0), id_key("000000000139"), id_key("a7"), id_key(None), id_key(True)
    (139, 139, 139, 'a7', None, None)
    """
    if type(value) is int and abs(value) < _LARGEST:
        return value
    if type(value) not in (int, float, str):
        return None
    text = str(value).strip()
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else text or None


def numbered(keys: Iterable[Key]) -> dict[Key, int]:
    """A number for each id: the id itself, or for text the next after the largest, in the order given.

    >>> numbered([7, "b", 3, "a"])
    {7: 7, 'b': 8, 3: 3, 'a': 9}
    """
    unique = list(dict.fromkeys(keys))
    following = max((key for key in unique if isinstance(key, int)), default=0) + 1
    texts = [key for key in unique if isinstance(key, str)]
    places = {key: place for place, key in enumerate(texts, following)}
    return {key: key if isinstance(key, int) else places[key] for key in unique}


def find(places: Mapping[Key, int], value: Any) -> int | None:
    """What an id stands for; None where it is not among the known ones."""
    key = id_key(value)
    return None if key is None else places.get(key)
