"""Reviews of a run's boxes, which are facts: no run, export or fit overwrites them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from pipeline.store.atomic import make_folder, reason
from pipeline.store.rundir import RunDir
from stages.errors import DataError, OutputError
from stages.formats.reviews.review import Review

FILE = "review/reviews.json"


def read_stored(run: RunDir) -> dict[int, Review]:
    """The reviews of a run, by image.

    Raises:
        DataError: Their file is damaged.
    """
    if not run.exists(FILE):
        return {}
    try:
        entries: list[dict[str, Any]] = json.loads(run.read(FILE))
        reviews = [
            Review(one["image_id"], [(name, tuple(box)) for name, box in one["boxes"]], one["by"], one["when"])
            for one in entries
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{run.where(FILE)} is damaged: {error}; remove it and import the reviews again") from None
    return {one.image_id: one for one in reviews}


def store(run: RunDir, reviews: Iterable[Review], source: str) -> None:
    """Add reviews to those of the run; of two of an image, the newer import counts.

    Raises:
        ConfigurationError: Another process works on the run.
        OutputError: The disk is full or cannot be written.

    Args:
        run: The run.
        reviews: The reviews.
        source: Name of the file that they are from.
    """
    with _locked(run):
        kept = {one["image_id"]: one for one in _entries(run)}
        kept |= {one.image_id: asdict(one) | {"file": source} for one in reviews}
        make_folder(run.where("review"))
        run.write(
            FILE, json.dumps([kept[image] for image in sorted(kept)], ensure_ascii=False, indent=1).encode() + b"\n"
        )


@contextmanager
def _locked(run: RunDir) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(run.locked())
        except OSError as error:
            raise OutputError(f"cannot write to {run}: {reason(error)}") from None
        yield


def _entries(run: RunDir) -> list[dict[str, Any]]:
    read_stored(run)  # Whether it is damaged.
    entries: list[dict[str, Any]] = json.loads(run.read(FILE)) if run.exists(FILE) else []
    return entries
