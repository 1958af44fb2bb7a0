"""Module search path of this process and its children, which never starts with the current folder.

Python puts the folder of the command, or the current one, before the standard library, so that every library would
import a user's ``json.py`` from there.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
"""The folder that contains this package."""


def leave_out_current_folder() -> None:
    """Remove the current folder from this process's path, unless it contains this package."""
    sys.path[:] = _without_current_folder()


def import_path() -> list[str]:
    """The folders that a new process needs to find the same modules as this one, in order.

    They are those before the standard library, which ``PYTHONPATH`` or a program put there, and that of this
    package. Every process of the same interpreter has the folders after it by default.
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
