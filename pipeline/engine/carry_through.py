"""Completion of a run that was begun: missing shards are computed, then everything is scored and reported."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pipeline.config.recipe import FullRecipe
from pipeline.engine.journal import journal
from pipeline.engine.progress import Session
from pipeline.report.page import write_report
from pipeline.scores.calibration import calibrated_thresholds
from pipeline.scores.finalize import finalize
from pipeline.store.damage import damaged_parts, damaged_results, set_aside
from pipeline.store.info import RunInfo
from pipeline.store.manifest import Shard, cut_into_shards
from pipeline.store.rundir import RunDir
from pipeline.store.tables import COUNTS_FORM
from pipeline.version import __version__
from stages.errors import ConfigurationError

log = logging.getLogger("wsl_pipeline")


def carry_through(
    directory: RunDir,
    recipe: FullRecipe,
    session: Session,
    compute: Callable[[list[Shard]], None],
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Commit the shards that are missing, then write the results; a complete run is left unchanged.

    Args:
        directory: The run, begun, checked by :func:`check_start` and locked.
        recipe: The run's recipe.
        session: Counts and times.
        compute: Commits the given shards, at least one.
        retry_failed: Whether to commit the shards with images that failed again, in place of what they were.

    Returns:
        The content of ``metrics.json``.
    """
    shards = cut_into_shards(session.info.images, session.info.shard_size)
    for shard, damage in damaged_parts(directory):
        log.warning("%s", damage)
        _check_form(directory, session.info)
        log.warning("it is set aside as *.bad, and computed again")
        directory.reopen()
        set_aside(directory, shard)
    committed = directory.committed()
    # A part is replaced in one step, so that what a shard had stays until it has something better.
    committed -= directory.with_failures() if retry_failed else set()
    damaged = list(damaged_results(directory))
    if is_done(directory, session.info) and len(committed) == len(shards) and not damaged:
        log.info("%s is complete; nothing to do", directory)
        found: dict[str, Any] = directory.read_json("metrics.json")
        return found
    for damage in damaged if directory.complete else []:
        log.warning("%s; it is written again", damage)
    _check_form(directory, session.info)
    session.info.counts_form = COUNTS_FORM
    if directory.complete:
        directory.reopen()
    session.done = sum(one.stop - one.start for one in shards if one.index in committed)
    calibrated = calibrated_thresholds(directory.manifest, recipe)
    if todo := [shard for shard in shards if shard.index not in committed]:
        session.save()
        with journal(directory) as session.journal:
            compute(todo)
        session.save()
    directory.clean()  # Workers that were killed while writing leave temporary files.
    metrics = session.time("finalize", lambda: finalize(directory, recipe, calibrated))
    session.time("report", lambda: write_report(directory, recipe))
    session.info.machines = dict(sorted(Counter(directory.machines.values()).items()))
    session.info.failed = metrics["n_failed"]
    session.info.results = {name: digest for name, digest in directory.written.items() if _is_result(name)}
    session.save()
    directory.write("_SUCCESS", b"")
    return metrics


def _is_result(name: str) -> bool:
    return name == "metrics.json" or name.startswith("coco/")


def is_done(directory: RunDir, info: RunInfo) -> bool:
    """Whether a run has all its parts and results, so that nothing is left to do."""
    parts = len(cut_into_shards(info.images, info.shard_size))
    return directory.complete and len(directory.committed()) == parts and directory.exists("metrics.json")


def check_start(directory: RunDir, recipe: FullRecipe, info: RunInfo, manifest: bytes | None) -> None:
    """Check, before hours of work, what would end the run later.

    Args:
        directory: The run, locked.
        recipe: The run's recipe.
        info: Its ``run.json``.
        manifest: The bytes of its manifest where it is not begun yet.

    Raises:
        ConfigurationError: It has parts that hold counts of another form, which may be read, but not continued, or
            its calibration run does not fit.
        DataError: Its calibration run is not finished.
    """
    if manifest is None:
        _check_form(directory, info)
    calibrated_thresholds(directory.manifest if manifest is None else BytesIO(manifest), recipe)


def _check_form(directory: RunDir, info: RunInfo) -> None:
    # A fit made by other rules is as good as a part.
    if info.counts_form != COUNTS_FORM and (directory.committed() or info.fit_sha256):
        begun_by = info.versions.get("wsl-pipeline", "another version")
        raise ConfigurationError(
            f"{directory} was begun by wsl-pipeline {begun_by}, this is {__version__}, which counts differently; "
            "finish it with the former, or choose another --out"
        )
