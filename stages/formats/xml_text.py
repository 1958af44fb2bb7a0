"""Text in XML 1.0, which has no place for some characters, not even as references."""

from __future__ import annotations

import re

_NONE = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def storable(text: str) -> str:
    """A text in which the characters that XML forbids are escaped as in Python; all others stay, since names match.

    >>> storable("a\\x1bb \\u200f & <\\n")
    'a\\\\x1bb \\u200f & <\\n'
    """
    return _NONE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
