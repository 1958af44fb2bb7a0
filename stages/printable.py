"""Names of strangers as they may be shown: on a terminal or a page, where some characters act instead of appearing."""

from __future__ import annotations

import re
import unicodedata

# Controls such as ESC, marks that reverse the direction of text, separators of lines, halves of characters.
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_UNSTORABLE = re.compile("[\\0\\ud800-\\udfff]")
_JOINERS = "\u200c\u200d"  # Parts of words in Persian and Hindi, and of emoji.
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")


def printable(text: str) -> str:
    """A text in which characters that act instead of appearing are escaped as in Python; line ends and tabs stay.

    >>> printable("a\\x1b[31mb\\u202egnp.jpg \\ud800 été"), printable("two\\nlines")
    ('a\\\\x1b[31mb\\\\u202egnp.jpg \\\\ud800 été', 'two\\nlines')
    """
    return _SUSPECT.sub(_escaped, text)


def is_storable(text: str) -> bool:
    """Whether a text can be the name of a file, and be stored as UTF-8: no NUL, no half characters or foreign bytes.

    >>> is_storable("été"), is_storable("a\\0"), is_storable("a\\ud800"), is_storable("caf\\udce9")
    (True, False, False, False)
    """
    return _UNSTORABLE.search(text) is None


def _escaped(found: re.Match[str]) -> str:
    one = found[0]
    acts = unicodedata.category(one) in _ACTING and one not in _JOINERS
    return one.encode("unicode_escape").decode() if acts else one
