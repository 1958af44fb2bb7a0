"""One run from configuration to results: prepare, execute, finalize. A second call resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config.history import config_hash, former_hash
from pipeline.config.keys import named_keys
from pipeline.config.recipe import FullRecipe
from pipeline.config.sections import Config
from pipeline.engine.carry_through import carry_through, check_start, is_done
from pipeline.engine.fit import Means, fitted, given_fit
from pipeline.engine.interrupt import draining
from pipeline.engine.job import RunJob
from pipeline.engine.machine import computes_in_bf16
from pipeline.engine.plan import plan
from pipeline.engine.prepare import examine, prepare, resolve_run, survey
from pipeline.engine.progress import Progress, Session
from pipeline.engine.stages import run_stages
from pipeline.engine.workers import advise, check_device, executor_of, pin, place
from pipeline.scores.finalize import probe_labels
from pipeline.store.holding import holding
from pipeline.store.info import RunInfo
from pipeline.store.manifest import Shard, cut_into_shards, shard_length
from pipeline.store.rundir import RunDir
from stages.boxes.protocols import fingerprint

log = logging.getLogger("wsl_pipeline")

PROBE_IMAGES = 256
"""Number of committed images after which labels are checked for permutation, long before the end."""


@named_keys()
def run(
    config: Config,
    out: str | Path,
    watch: Callable[[Progress], None] = lambda progress: None,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Carry out a run, or resume it where it stopped.

    Args:
        config: The run's configuration.
        out: The run directory: a local path, or a uri such as ``s3://BUCKET/RUN``.
        watch: Called with the progress at the start and after each commit.
        retry_failed: Whether to compute the shards with images that failed again.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    recipe = resolve_run(config)
    with holding(RunDir, out, config) as directory:
        if not directory.complete or _retries(directory, retry_failed):
            executor_of(config.runtime).check()  # Wait for the cluster before the images and the network are looked at.
        found, info = prepare(directory, recipe, lambda *start: _check(directory, retry_failed, *start))
        session, full = Session(directory, info, watch), found.recipe
        del found  # Its records are in the manifest; for a million images they would occupy a gigabyte.
        return carry_through(
            directory, full, session, lambda todo: _compute(directory, full, session, todo), retry_failed
        )


def _retries(directory: RunDir, retry_failed: bool) -> bool:
    """Whether shards of a run that may be complete are to be computed again."""
    return retry_failed and bool(directory.with_failures())


def _check(directory: RunDir, retry_failed: bool, recipe: FullRecipe, info: RunInfo, manifest: bytes | None) -> None:
    """Check what would end the run between its beginning and its first image."""
    if manifest is not None or not is_done(directory, info) or _retries(directory, retry_failed):
        check_start(directory, recipe, info, manifest)
        if recipe.fitted and recipe.config.explain.foreground != "fit" and not info.fit_sha256:
            given_fit(recipe)
        device, _ = place(recipe.config.runtime, executor_of(recipe.config.runtime))
        check_device(directory, info, device)


def _compute(directory: RunDir, recipe: FullRecipe, session: Session, todo: list[Shard]) -> None:
    """Take shards through all stages."""
    info, config = session.info, recipe.config
    executor = executor_of(config.runtime)
    device, workers = place(config.runtime, executor)
    advise(config.runtime, executor, device)
    batch_size = pin(directory, info, config.runtime, device)
    job = RunJob(
        run=directory,
        batch_size=batch_size,
        timeout=config.runtime.timeout,
        class_names=recipe.class_names,
        faithfulness=tuple(config.evaluate.faithfulness),
    )
    if device == "cpu" and config.runtime.precision == "fp32" and computes_in_bf16():
        log.info(
            "these CPUs compute in bf16 too: runtime.precision=bf16 is faster, and moves some boxes by a few pixels"
        )
    with draining() as stop:
        if recipe.fitted:
            means = Means(executor, device, batch_size, workers, stop)
            student = session.time("fit", lambda: fitted(directory, recipe, info, means))
            if student is None:
                return
            recipe = recipe.with_student(student)
        groups = plan(run_stages(recipe, device))
        for report in executor.execute(groups, todo, job, workers, session.start, stop):
            before = session.done
            session.add(report)
            if before < min(PROBE_IMAGES, info.images) <= session.done:
                info.warnings = probe_labels(directory)
                for warning in info.warnings:
                    log.warning("%s", warning)


@named_keys()
def preview(config: Config, out: str | Path | None = None, retry_failed: bool = False) -> dict[str, Any]:
    """Summary of what a run would do; nothing is computed, and nothing written remains.

    Args:
        config: The run's configuration.
        out: The run directory; where it is not given, only the configuration is checked.
        retry_failed: As for :func:`run`.

    Raises:
        UserError: Anything that a run would raise before its first image.
    """
    begun = RunDir(out) if out is not None and RunDir(out).begun else None
    found = survey(resolve_run(config), begun.info().levels if begun else None)
    if out is not None:
        with executor_of(config.runtime).trial(), holding(RunDir, out, config) as directory:
            _check(directory, retry_failed, found.recipe, *examine(directory, found))
    recipe, images = found.recipe, len(found.records)
    return {
        "images": images,
        "labelled": found.labelled,
        "boxes": found.boxes,
        "notes": "; ".join(found.notes),
        "network": f"{config.model.spec}, {len(recipe.class_names)} classes",
        "pixels": _pixels(recipe),
        "layer": ", ".join(recipe.layers),
        "maps": ", ".join(recipe.methods) + " of " + ", ".join(config.explain.targets),
        "protocol": f"{recipe.protocol.name} {fingerprint(recipe.protocol)}",
        "shards": len(cut_into_shards(images, shard_length(images, config.runtime.shard_size))),
    }


def _pixels(recipe: FullRecipe) -> str:
    """How images become the network's input, in one line."""
    own = recipe.network.preprocess
    mean, std = (",".join(f"{value:.4g}" for value in values) for values in (own.mean, own.std))
    crop = f"{recipe.crop_ratio:.4g}" + ("" if recipe.fit == "center_crop" else " (of model.fit=center_crop)")
    return f"{recipe.size} px, {recipe.fit}, {own.resample}, mean {mean}, std {std}, crop {crop}"


def default_directory(stem: str, config: Config, ending: str = "") -> str:
    """Default run directory: ``runs/NAME-HASH``.

    A run that version 0.2.1 began under its hash of the same configuration is resumed in its directory.

    Args:
        stem: Name of the configuration.
        config: The run's configuration.
        ending: What the folder's name ends in.
    """
    former = former_hash(config)
    if former and Path(begun := f"runs/{stem}-{former[:8]}{ending}").is_dir():
        return begun
    return f"runs/{stem}-{config_hash(config)[:8]}{ending}"
