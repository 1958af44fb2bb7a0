"""One training from configuration to a model: its images dealt out, features, a head. A second call resumes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config.history import config_hash
from pipeline.config.keys import OF_TRAININGS, named_keys
from pipeline.config.training import TrainConfig
from pipeline.engine.features import compute_features
from pipeline.engine.journal import journal
from pipeline.engine.progress import Progress, Session
from pipeline.engine.training import Inputs, begin, examine, survey
from pipeline.engine.workers import check_device, executor_of, place
from pipeline.report.training import write_page
from pipeline.store.holding import holding
from pipeline.store.info import RunInfo
from pipeline.store.training import MODEL_FILE, PREDICTIONS_FILE, TrainDir
from stages.formats.table import check_root

log = logging.getLogger("wsl_pipeline")

RESULTS = (MODEL_FILE, PREDICTIONS_FILE, "metrics.json", "curves.parquet", "report/index.html")


@named_keys(OF_TRAININGS)
def train(
    config: TrainConfig,
    out: str | Path,
    watch: Callable[[Progress], None] = lambda progress: None,
    shared: str | None = None,
) -> dict[str, Any]:
    """Carry out a training, or resume it where it stopped.

    Args:
        config: The training's configuration.
        out: Its directory: a local path, or a uri such as ``s3://BUCKET/TRAINING``.
        watch: Called with the progress of the features, at the start and after each commit.
        shared: Folder of features that trainings of one trunk share, which the caller removes.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    check_root(config.data.format, config.data.root)
    with holding(TrainDir, out, config) as directory:
        directory.shared = shared
        begun = directory.info() if directory.begun else None
        if begun and _is_done(directory, begun):
            log.info("%s is complete; nothing to do", directory)
            return _end(directory)
        directory.reopen()
        executor_of(config.runtime).check()
        found = survey(config, begun.levels if begun else None)
        info, manifest = examine(directory, found)
        _check_device(directory, found, info)
        if manifest is not None:
            begin(directory, found, info, manifest)
        return _carry_out(directory, found, Session(directory, info, watch))


def _check_device(directory: TrainDir, found: Inputs, info: RunInfo) -> None:
    """Check that the images can go through the network here, and on the kind of device that others did."""
    runtime = found.config.runtime
    device, _ = place(runtime, executor_of(runtime))
    check_device(directory, info, device)


def _is_done(directory: TrainDir, info: RunInfo) -> bool:
    """Whether a training has the results that it wrote."""
    for name, digest in info.results.items():
        if not directory.exists(name) or hashlib.sha256(directory.read(name)).hexdigest() != digest:
            log.warning("%s is damaged or gone; it is written again", directory.where(name))
            return False
    return bool(info.results)


def _end(directory: TrainDir) -> dict[str, Any]:
    """Leave the results alone."""
    if directory.shared is None:
        directory.remove_features()
    directory.write("_SUCCESS", b"")
    return dict(directory.read_json("metrics.json"))


def _carry_out(directory: TrainDir, found: Inputs, session: Session) -> dict[str, Any]:
    """Compute the features that are missing, train, and write the results."""
    from pipeline.engine.head import train_on_features

    with journal(directory) as session.journal:
        compute_features(directory, found, session)
    session.save()
    trained = session.time("training", lambda: train_on_features(directory, found, session.info))
    directory.clean()
    directory.write(MODEL_FILE, trained.model)
    directory.write_json("metrics.json", trained.metrics)
    directory.write_curves(trained.curves)
    directory.write_predictions(trained.predictions)
    write_page(directory, trained.metrics, trained.curves)
    session.info.failed = trained.metrics["n_failed"]
    session.info.results = {name: directory.written[name] for name in RESULTS}
    session.save()
    return _end(directory)


@named_keys(OF_TRAININGS)
def preview(config: TrainConfig, out: str | Path | None = None) -> dict[str, Any]:
    """Summary of what a training would do; nothing is computed, and nothing written remains.

    Args:
        config: The configuration.
        out: The directory; where it is not given, only the configuration is checked.

    Raises:
        UserError: Anything that a training would raise before its first image.
    """
    check_root(config.data.format, config.data.root)
    begun = TrainDir(out) if out is not None and TrainDir(out).begun else None
    found = survey(config, begun.info().levels if begun else None)
    if out is not None:
        with executor_of(config.runtime).trial(), holding(TrainDir, out, config) as directory:
            info, _ = examine(directory, found)
            _check_device(directory, found, info)
    shape = found.shape
    size = 4 * shape.inputs * shape.side**2 * len(found.records) / 2**20
    return {
        "images": ", ".join(f"{name} {count:,}" for name, count in found.counts.items()),
        "classes": f"{len(found.classes)}, {'one an image' if found.exclusive else 'several an image'}",
        "notes": "; ".join(found.notes),
        "trunk": f"{config.model.spec} to {found.layer}, {shape.inputs} maps of {shape.side} x {shape.side}",
        "head": config.model.head,
        "features": f"{size:,.0f} MiB",
    }


def default_directory(stem: str, config: TrainConfig) -> str:
    """Default directory of a training: ``runs/train-NAME-HASH``."""
    return f"runs/train-{stem}-{config_hash(config)[:8]}"
