"""Where this process and those that it starts look for modules: never first in the current folder.

Python puts the folder of the command, or the current one, before the standard library. There a ``json.py`` of the
user's would be what every library imports.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
"""The folder that this package lies in."""


def leave_out_current_folder() -> None:
    """Take the current folder off this process's path, unless this package itself lies in it."""
    sys.path[:] = _without_current_folder()


def import_path() -> list[str]:
    """The folders that a new process must be told to find what this one finds, in the order of its path.

    They are those before the standard library, which ``PYTHONPATH`` or a program put there, and that of this
    package. What stands behind it, every process of the same interpreter finds by itself.
    """
    entries = _without_current_folder()
    standard = os.path.realpath(sysconfig.get_path("stdlib"))
    at = next((at for at, entry in enumerate(entries) if os.path.realpath(entry) == standard), len(entries))
    found = [entry for entry in entries[:at] if os.path.isdir(entry)]
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    return found if ROOT in (*found, *installed) else [*found, ROOT]


def _without_current_folder() -> list[str]:
    here = os.path.realpath("")
    if here == os.path.realpath(ROOT):
        return [entry or ROOT for entry in sys.path]
    return [entry for entry in sys.path if os.path.realpath(entry) != here]
