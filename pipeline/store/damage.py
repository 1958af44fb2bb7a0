"""Files of a run that are damaged, missing, or not the run's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipeline.store import atomic as storage
from pipeline.store.fit import FIT_FILE
from pipeline.store.rundir import FAILED, RunDir, part_name
from pipeline.store.schema import ERRORS, PREDICTIONS
from pipeline.store.seal import SealError


def damaged_parts(run: RunDir) -> Iterator[tuple[int, str]]:
    """The finished shards with a file that is damaged, missing or not one of this run, and which in one line.

    Raises:
        StorageError: A file cannot be read.
    """
    of_failed = dict(run.parts("errors"))
    for shard, uri in run.parts("predictions"):
        try:
            facts = run.checked_part(shard, uri, PREDICTIONS.names).schema.metadata
            found = run.checked_part(shard, of_failed[shard], ERRORS.names) if shard in of_failed else []
        except SealError as error:
            yield shard, str(error)
            continue
        expected = facts.get(FAILED.encode())
        if expected is not None and int(expected) != len(found):
            where = run.where(f"errors/{part_name(shard)}")
            yield shard, f"{where} is damaged (it has {len(found)} images of {int(expected)})"


def damaged_results(run: RunDir) -> Iterator[str]:
    """The score and COCO files of a complete run that are not those that it wrote, each in one line."""
    for name, digest in run.info().results.items():
        if not run.exists(name):
            yield f"{run.where(name)} is missing"
        elif hashlib.sha256(run.read(name)).hexdigest() != digest:
            yield f"{run.where(name)} is damaged (its bytes are not those that were written)"


def damaged_fit(run: RunDir) -> Iterator[str]:
    """The foreground that the run has fitted, if it is not there any more, in one line."""
    info = run.info()
    if not info.fit_sha256 or info.source is not None:  # What was relocalized has its maps from elsewhere.
        return
    there = run.exists(FIT_FILE)
    if not there or hashlib.sha256(run.read(FIT_FILE)).hexdigest() != info.fit_sha256:
        what = "damaged (its bytes are not those that were written); remove it, and" if there else "missing;"
        yield f"{run.where(FIT_FILE)} is {what} wsl-pipeline train foreground makes it again"


def set_aside(run: RunDir, shard: int) -> None:
    """Rename the files of a shard to ``*.bad``, so that it counts as not committed."""
    for name in (f"{kind}/{part_name(shard)}" for kind in ("predictions", "errors")):
        if run.exists(name):
            storage.set_aside(run.where(name))
