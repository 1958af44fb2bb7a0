"""One run from configuration to results: prepare, execute, finalize. Called again, it resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.config.sections import Config, protocol_of
from pipeline.engine.interrupt import draining
from pipeline.engine.job import Job
from pipeline.engine.journal import journal
from pipeline.engine.plan import plan
from pipeline.engine.prepare import prepare, survey
from pipeline.engine.progress import Progress, Session
from pipeline.report.page import write_report
from pipeline.scores.calibration import calibrated_thresholds
from pipeline.scores.finalize import finalize, probe_labels
from pipeline.scores.stages import scoring_stages
from pipeline.store.manifest import Shard, cut_into_shards, shard_length
from pipeline.store.rundir import RunDir
from stages.batch import Stage
from stages.boxes.protocols import Protocol, fingerprint
from stages.classes import ClassInfo
from stages.classify.network import Network
from stages.errors import ConfigurationError

log = logging.getLogger("wsl_pipeline")

PROBE_IMAGES = 256
"""Committed images after which permuted labels are looked for; a mistake shows long before the end."""


def run(config: Config, out: str | Path, watch: Callable[[Progress], None] = lambda progress: None) -> dict[str, Any]:
    """Carry a run out, or take it up where it stopped.

    Args:
        config: What to do.
        out: The run directory: a local path, or a uri such as ``s3://BUCKET/RUN``.
        watch: Called with the progress at the start and after each commit.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        UserError: What the user can mend, in one line.
    """
    protocol = protocol_of(config)
    directory = RunDir.open(out, config)
    with directory.locked():
        found, info = prepare(directory, config)
        session = Session(directory, info, watch)
        network, classes = found.network, found.classes
        del found  # Its records stand in the manifest; a run of a million images has no use for a gigabyte of them.
        return carry_through(
            directory,
            config,
            config.model.size or network.preprocess.size,
            classes,
            session,
            lambda todo: _compute(directory, config, protocol, network, classes, session, todo),
        )


def carry_through(
    directory: RunDir,
    config: Config,
    size: int,
    classes: list[ClassInfo],
    session: Session,
    compute: Callable[[list[Shard]], None],
) -> dict[str, Any]:
    """Commit the shards that are missing, then write the results; a complete run is left as it is.

    Args:
        directory: Begun and locked.
        config: Its configuration.
        size: Side of the network's input.
        classes: By network output.
        session: Counts and times.
        compute: Commits the shards that it is given, at least one.

    Returns:
        What ``metrics.json`` holds.
    """
    shards = cut_into_shards(session.info["images"], session.info["shard_size"])
    committed = directory.committed()
    if directory.complete:
        if len(committed) == len(shards) and directory.exists("metrics.json"):
            log.info("%s is complete; nothing to do", directory)
            return directory.read_json("metrics.json")
        directory.reopen()
    session.done = sum(one.stop - one.start for one in shards if one.index in committed)
    calibrated_thresholds(directory, config)  # A run that does not fit is refused before hours of work.
    if todo := [shard for shard in shards if shard.index not in committed]:
        session.save()
        with journal(directory) as session.journal:
            compute(todo)
        session.save()
    directory.clean()  # What workers that were killed in the middle of a file have left.
    metrics = session.time("finalize", lambda: finalize(directory, config, protocol_of(config), size, classes))
    session.time("report", lambda: write_report(directory))
    session.info["failed"] = metrics["n_failed"]
    session.save()
    directory.write("_SUCCESS", b"")
    return metrics


def _compute(
    directory: RunDir,
    config: Config,
    protocol: Protocol,
    network: Network,
    classes: list[ClassInfo],
    session: Session,
    todo: list[Shard],
) -> None:
    """Take shards through all stages."""
    info = session.info
    executor = _executor(config)
    device, workers = place(config, executor)
    if "batch_size" not in info:  # Pinned with the first image, like the size of a shard.
        info |= {"batch_size": _batch_size(config, device), "device": _kind(device)}
        directory.write_json("run.json", info)
    _check_device(directory, info.get("device"), _kind(device))
    groups = plan(stages_of(config, network, protocol, device))
    names = [one.name for one in classes]
    job = Job(directory, info["batch_size"], names, config.runtime.timeout, tuple(config.evaluate.faithfulness))
    with draining() as stop:
        for report in executor.execute(groups, todo, job, workers, session.start, stop):
            before = session.done
            session.add(report)
            if before < min(PROBE_IMAGES, info["images"]) <= session.done:
                info["warnings"] = probe_labels(directory)
                for warning in info["warnings"]:
                    log.warning("%s", warning)


def preview(config: Config) -> dict[str, Any]:
    """What a run would do; nothing is computed or written.

    Raises:
        UserError: What a run would raise before its first image.
    """
    protocol = protocol_of(config)
    found = survey(config)
    return {
        "images": len(found.records),
        "labelled": found.labelled,
        "boxes": found.boxes,
        "notes": "; ".join(found.notes),
        "network": f"{config.model.spec}, {len(found.classes)} classes",
        "layer": found.layer if isinstance(found.layer, str) else ", ".join(found.layer),
        "maps": ", ".join(config.explain.methods) + " of " + ", ".join(config.explain.targets),
        "protocol": f"{protocol.name} {fingerprint(protocol)}",
        "shards": len(cut_into_shards(len(found.records), shard_length(len(found.records), config.runtime.shard_size))),
    }


def _executor(config: Config) -> ModuleType:
    if config.runtime.executor == "inline":
        from pipeline.engine.executors import inline

        return inline
    from pipeline.engine.executors import ray

    return ray


def place(config: Config, executor: ModuleType) -> tuple[str, int | None]:
    """Device and number of model workers; None for as many as a cluster has room for, now and later."""
    runtime = config.runtime
    cpus, gpus = executor.capacity()
    device = ("cuda" if gpus else "cpu") if runtime.device == "auto" else runtime.device
    if device != "cpu" and not gpus:
        raise ConfigurationError(f"runtime.device: {device}, but there is no GPU here; take auto or cpu")
    if runtime.executor == "ray":
        if device != "cpu" and runtime.gpus_per_worker > gpus:
            raise ConfigurationError(
                f"runtime.gpus_per_worker: {runtime.gpus_per_worker}, but the cluster has {gpus:g} GPUs"
            )
        # Ray shows every worker its own GPU as the first one.
        return _kind(device), None if runtime.workers == "auto" else runtime.workers
    if device == "cpu":
        return device, cpus if runtime.workers == "auto" else min(runtime.workers, cpus)
    return device, min(4, cpus) if runtime.workers == "auto" else runtime.workers


def _kind(device: str) -> str:
    """``cpu`` or ``cuda``, whichever of several."""
    return device.partition(":")[0]


def _check_device(directory: RunDir, begun: str | None, now: str) -> None:
    """A CPU and a GPU round differently: shards of one run come from one kind of device.

    Raises:
        ConfigurationError: The run was begun on another kind.
    """
    if begun not in (None, now):  # Runs of earlier versions do not say.
        mend = "set runtime.device=cpu" if begun == "cpu" else "run it where there is a GPU"
        raise ConfigurationError(
            f"runtime.device: {directory} was begun on {begun}, this would go on with {now}; {mend}, "
            "or choose another --out"
        )


def _batch_size(config: Config, device: str) -> int:
    size = config.runtime.batch_size
    return (32 if device == "cpu" else 64) if size == "auto" else size


def stages_of(config: Config, network: Network, protocol: Protocol, device: str) -> list[Stage]:
    """The whole pipeline, in order."""
    from stages.classify.stage import Classify
    from stages.evaluate.faithfulness.stage import Faithfulness
    from stages.explain.method_layers import all_layers, layers_of
    from stages.explain.stage import Explain
    from stages.ingest.decode import Decode

    size = config.model.size or network.preprocess.size
    gpus = 0 if device == "cpu" else config.runtime.gpus_per_worker
    pixels = network.preprocess
    red, green, blue = (round(255 * value) for value in pixels.mean)
    explain, faithfulness = config.explain, config.evaluate.faithfulness
    placed = layers_of(network, explain.methods, explain.layer, size)
    asking: list[Stage] = (
        [Faithfulness(faithfulness, explain.flip, explain.scales, config.seed, gpus, placed)] if faithfulness else []
    )
    return [
        Decode(size, config.model.fit, pixels.resample, pixels.crop_ratio, (red, green, blue)),
        Classify(
            config.model.spec,
            network.weights_sha256,
            all_layers(placed),
            size,
            device,
            config.runtime.precision,
            gpus,
            config.explain.dilate,
        ),
        Explain(explain.methods, explain.targets, explain.flip, explain.scales, gpus, placed),
        *asking,
        *scoring_stages(config.evaluate, protocol, size),
    ]
