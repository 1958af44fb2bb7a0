"""A check of a whole run: whether every file is the one that the run wrote."""

from __future__ import annotations

from typing import Any

from pipeline.store.damage import damaged_fit, damaged_parts, damaged_results
from pipeline.store.manifest import cut_into_shards
from pipeline.store.rundir import RunDir
from pipeline.store.tables import SEALED_FORM
from stages.errors import StorageError, UserError


def verify(run: RunDir) -> dict[str, Any]:
    """Check a run's configuration, manifest, parts and results, and change nothing.

    Returns:
        ``state`` (``complete`` or ``incomplete``), ``shards`` and ``committed`` (their numbers), ``damaged`` (a line
        for each file that is damaged, missing or not one of this run, empty where there is none) and, for a run of a
        version that stored no checksums, a ``note``.

    Raises:
        DataError: There is no run, ``run.json`` is damaged, or the store does not answer.
    """
    info = run.info()
    damaged = []
    for check in (run.config, run.check_manifest):
        try:
            check()
        except StorageError:
            raise
        except UserError as error:
            damaged.append(str(error))
    if run.begun:
        damaged += [line for _, line in damaged_parts(run)]
    shards, committed = len(cut_into_shards(info.images, info.shard_size)), len(run.committed())
    if run.complete:
        damaged += [*damaged_results(run), *damaged_fit(run)]
        if committed < shards:
            damaged.append(f"{run} is complete, but {shards - committed} of its parts are missing")
    state = "complete" if run.complete else "incomplete"
    found = {"state": state, "shards": shards, "committed": committed, "damaged": damaged}
    if info.counts_form < SEALED_FORM:
        found["note"] = "an earlier version wrote this run without checksums: only files that cannot be read are found"
    return found
