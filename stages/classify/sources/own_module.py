"""Imports the user's modules from their own folder, whatever they and their neighbours are called.

That folder is not put on the path: every library would import a ``json.py`` in it, and a checkout of a library
would shadow the library. Only the folder's own modules find its other modules.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import NamedTuple

_MACHINERY = {"importlib", "importlib._bootstrap", "importlib.util", "pickle", "torch.serialization", __name__}
"""Modules that import on behalf of their caller: Python's own, and readers of pickled objects."""


def import_from(folder: Path, name: str) -> ModuleType:
    """A module of the given folder, or the one that Python finds elsewhere if the folder has none of that name.

    If the name is taken by the standard library, an installed package or a module of another folder, the module
    is imported under another name, and the other one stays as it was. Such a package must refer to its own
    modules relatively. Modules that were imported from the folder find its other modules, where nothing else
    has their name.

    Args:
        folder: An absolute path.
        name: Dotted name of the module.

    Raises:
        ImportError: There is no such module.
    """
    importlib.invalidate_caches()  # The file may have been written a moment ago.
    top, dot, below = name.partition(".")
    own = PathFinder.find_spec(top, [str(folder)])
    if own is not None:
        place = _Place(str(folder), top)
        known, file = _known(top)
        if not known or (own.origin and file and os.path.realpath(own.origin) == os.path.realpath(file)):
            _FINDER.places[top] = place
        elif own.origin:  # Not a bare folder, which never takes precedence over a module.
            top += "@" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
            _FINDER.places[top] = place
        if _FINDER not in sys.meta_path:
            sys.meta_path.append(_FINDER)
    return importlib.import_module(f"{top}{dot}{below}")


def _known(name: str) -> tuple[bool, str | None]:
    """Whether a name can be imported without the folder, or was imported already, and from which file."""
    if name in sys.modules:
        return True, getattr(sys.modules[name], "__file__", None)
    spec = importlib.util.find_spec(name)
    return (False, None) if spec is None else (True, spec.origin)


class _Place(NamedTuple):
    folder: str
    name: str  # the module's name in its folder


class _Finder(MetaPathFinder):
    """Finds top-level modules in their folders, after everything else that finds modules.

    Attributes:
        places: Locations of modules, by the name under which they are imported.
    """

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Implement Python's import protocol."""
        if path is not None:
            return None
        place = self.places.get(fullname)
        if place is None:
            asking = self.places.get(_asking(sys._getframe(1)))
            if asking is None:
                return None
            place = _Place(asking.folder, fullname)
        spec = PathFinder.find_spec(place.name, [place.folder])
        if spec is None:
            return None
        self.places[fullname] = place
        if fullname == place.name:
            return spec
        inside = spec.submodule_search_locations
        return importlib.util.spec_from_file_location(fullname, spec.origin, submodule_search_locations=inside)


def _asking(frame: FrameType | None) -> str:
    """The top-level name of the module whose code imports another."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name not in _MACHINERY:
            return name.partition(".")[0]
        frame = frame.f_back
    return ""


_FINDER = _Finder()
