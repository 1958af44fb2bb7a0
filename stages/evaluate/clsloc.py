"""Error rates of ILSVRC's classification and localization task, and the images that it leaves out.

Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, section 4.3; the
development kit's ``eval_clsloc.m``: an image counts as wrong unless one of at most five guesses names its
class and has a box of IoU 0.5 or more with any box of that class.
"""

from __future__ import annotations

import hashlib
import reprlib
from typing import Any

import numpy as np

from stages.errors import DataError
from stages.evaluate.guesses import GUESSES
from stages.evaluate.statistics.bootstrap import DECIMALS
from stages.ingest.uris import read_bytes

LEVEL = "0.5"


def error_rates(metrics: dict[str, Any]) -> dict[str, Any]:
    """Entry ``clsloc_error`` with ``top1`` and ``top5``: one minus top-1 and top-5 localization at IoU 0.5.

    Args:
        metrics: Metrics of one method, as in ``metrics.json``.

    Returns:
        The entry; empty where the accuracies were not counted.
    """
    found = {
        name: _complement(metrics[f"{name}_loc"][LEVEL]) for name in GUESSES if LEVEL in metrics.get(f"{name}_loc", {})
    }
    return {"clsloc_error": found} if found else {}


def _complement(score: dict[str, Any]) -> dict[str, Any]:
    low, high = (round(1 - end, DECIMALS) for end in reversed(score["ci95"]))
    return {"value": round(1 - score["value"], DECIMALS), "ci95": [low, high], "n": score["n"]}


def read_ids(path: str, about: str = "blacklist") -> np.ndarray:
    """The ids of images that a file lists, one per line, as the development kit lists those that are not scored.

    Args:
        path: Local path or uri.
        about: What the file is for, for messages.

    Returns:
        (n,) int64, sorted, each once.

    Raises:
        DataError: No such file, or a line that is not an id.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", about=about) from None
    for line in lines:
        if not line.isascii() or not line.isdigit() or len(line) > 18:
            raise DataError(
                f"{reprlib.repr(line)} in {path} is not an image id; write one number per line", about=about
            )
    return np.unique(np.array(lines, dtype=np.int64))


def digest(ids: np.ndarray) -> str:
    """16 hexadecimal digits that identify a blacklist."""
    return hashlib.sha256(",".join(map(str, ids.tolist())).encode()).hexdigest()[:16]
