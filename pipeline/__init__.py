"""Weakly supervised object localization for whole datasets; as a library, ``import pipeline as wsl``.

:func:`load` and :func:`run` give a :class:`Run`, whose tables are pandas DataFrames; :func:`explain` makes maps and
boxes for a few images; :func:`compare` tells differences from noise. Their dependencies are imported on first use.
"""

from typing import TYPE_CHECKING

from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.api import Explained, Run, compare, explain, load, run

__all__ = ["Explained", "Run", "__version__", "compare", "explain", "load", "run"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
