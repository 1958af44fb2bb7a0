"""Classes of datasets and networks, the 1000 classes of ILSVRC, and the comparison of names."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class ClassInfo:
    """A class of a dataset or of a network.

    Attributes:
        name: Readable name, unique within its list.
        wnid: WordNet id such as ``n01440764``, where there is one.
    """

    name: str
    wnid: str | None = None


@cache
def imagenet_classes() -> tuple[ClassInfo, ...]:
    """The classes of ILSVRC in the order that every pretrained network uses: by wnid.

    Each has its wnid and torchvision's unique name.

    >>> imagenet_classes()[0]
    ClassInfo(name='tench', wnid='n01440764')
    """
    return tuple(ClassInfo(name=name, wnid=wnid) for wnid, name, _ in _imagenet_table())


@cache
def ilsvrc_ids() -> dict[int, int]:
    """Indices of the classes of :func:`imagenet_classes` by ILSVRC id, the devkit's number of a class, 1 to 1000.

    >>> ilsvrc_ids()[449]
    0
    """
    return {int(number): index for index, (_, _, number) in enumerate(_imagenet_table())}


def _imagenet_table() -> list[list[str]]:
    """Rows of wnid, name and ILSVRC id."""
    table = files("stages").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in table.splitlines()]


_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc", "'"))
_SEPARATORS = ("Pc", "Pd")
_INVISIBLE = ("Cc", "Cf")


def comparable(name: str) -> str:
    """The form in which names are compared; the names themselves are kept as they stand.

    Case, Unicode's ways of writing one character, and invisible characters such as a byte-order mark do not count;
    hyphens, underscores and blanks of any number are one blank, and none at the ends.

    >>> comparable("\\ufeffGolden_Retriever ") == comparable("golden  retriever"), comparable("Caf\\u0065\\u0301")
    (True, 'café')
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(_APOSTROPHES)
    kinds = ((one, unicodedata.category(one)) for one in folded)
    spaced = (" " if one.isspace() or kind in _SEPARATORS else one for one, kind in kinds if _shows(one, kind))
    return " ".join("".join(spaced).split()) or name  # Only separators: the name is all there is to compare.


def _shows(one: str, kind: str) -> bool:
    return one.isspace() or kind not in _INVISIBLE


def shown(name: str) -> str:
    """A name in quotes, with escapes for everything in it that could not be seen.

    >>> print(shown("tench"), shown("\\ufefftench"), shown("café"), shown("cafe\\u0301"))
    'tench' '\\ufefftench' 'café' 'cafe\\u0301'
    """
    quoted = repr(name)
    if unicodedata.is_normalized("NFC", name):
        return quoted
    return "".join(f"\\u{ord(one):04x}" if unicodedata.combining(one) else one for one in quoted)


def some(names: Sequence[str]) -> str:
    """The first five names, in one line.

    >>> some(["cat", "dog"]), some("abcdef")
    ('cat, dog', 'a, b, c, d, e ...')
    """
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


class Names:
    """Finds names in a list: as they stand, or else by their comparable form.

    Args:
        names: The list; names may stand in it repeatedly.

    >>> names = Names(["tench", "Tench", "great white shark", "hammerhead"])
    >>> names.find("Tench"), names.find("TENCH"), names.find("Great_White-Shark"), names.find("shark")
    ([1], [0, 1], [2], [])
    >>> names.nearest("shark"), names.nearest("hamerhead"), names.nearest("teapot")
    ('great white shark', 'hammerhead', '')
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._exact = _places(self.names)
        self._alike = _places(map(comparable, self.names))

    def find(self, name: str) -> list[int]:
        """Places of all names that this one may mean."""
        return self._exact.get(name) or self._alike.get(comparable(name), [])

    def nearest(self, name: str) -> str:
        """The known name that has all words of this one, or is spelt most like it; empty where none is."""
        words = set(comparable(name).split())
        near = [one for one in self._alike if words <= set(one.split())]
        near = near or difflib.get_close_matches(comparable(name), self._alike, n=1)
        return self.names[self._alike[near[0]][0]] if near else ""

    def listed(self, places: Sequence[int]) -> str:
        """The first names at some places, with the places."""
        return ", ".join(f"{one} {shown(self.names[one])}" for one in places[:3]) + (" ..." if len(places) > 3 else "")


def _places(names: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    return found
