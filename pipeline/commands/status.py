"""The state of a run, whether or not a process works on it."""

from __future__ import annotations

from typing import Any

from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError


def status(run: RunDir) -> dict[str, Any]:
    """Counts of images and, for an incomplete run, what its last call recorded about itself.

    Returns:
        ``state`` is ``complete``, ``running`` while a process holds the run, ``preparing`` while it looks at images
        and network, whose number is not known yet, ``stopped`` where the same command resumes it, or ``unknown``
        where its lock may not be tried. ``seconds_left`` is present while it runs and has committed something.

    Raises:
        DataError: There is no run, or it has not reached its first image and nobody works on it.
    """
    try:
        found = _counts(run)
    except DataError:
        if run.locked_once and not run.begun and _state(run) == "running":
            return {"state": "preparing", "images": None, "done": 0, "failed": 0, "complete": False}
        raise
    info = run.info()
    call = info.call
    state = "complete" if found["complete"] else _state(run)
    found = {"state": state} | found | {"images_per_second": info.images_per_second}
    if state == "complete":
        return found
    rate = info.images_per_second if call.images_per_second is None else call.images_per_second
    found |= {"images_per_second": rate, "workers": call.workers, "process": call.process}
    if state == "running" and rate:
        found["seconds_left"] = round((found["images"] - found["done"]) / rate)
    return found


def _counts(run: RunDir) -> dict[str, Any]:
    info = run.info()
    failed = sum(part.num_rows for part in run.errors())
    done = failed + sum(len(part["image_id"].unique()) for part in run.predictions(["image_id"]))
    return {"images": info.images, "done": done, "failed": failed, "complete": run.complete}


def _state(run: RunDir) -> str:
    try:
        with run.locked():
            return "stopped"
    except ConfigurationError:
        return "running"
    except OSError:  # Another user's run, whose lock this process may not touch.
        return "unknown"
