"""One run from configuration to results: prepare, execute, finalize. Called again, it resumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.config import Config, protocol_of
from pipeline.finalize import finalize, probe_labels
from pipeline.manifest import cut_into_shards, shard_length
from pipeline.plan import plan, total
from pipeline.prepare import Survey, prepare, survey
from pipeline.report.page import write_report
from pipeline.rundir import RunDir
from pipeline.shards import Job, Report
from stages.batch import Stage
from stages.classify.network import Network
from stages.errors import ConfigurationError
from stages.evaluate.protocols import Protocol, fingerprint

log = logging.getLogger("wsl_pipeline")

PROBE_IMAGES = 256
"""Committed images after which permuted labels are looked for; a mistake shows long before the end."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        images: In the manifest.
        done: Committed, by this call and before it.
        computed: Committed by this call.
        failed: How many of those ended in ``errors``.
        seconds: From the moment when the workers were ready.
    """

    images: int
    done: int
    computed: int
    failed: int
    seconds: float


def run(config: Config, out: Path, watch: Callable[[Progress], None] = lambda progress: None) -> dict[str, Any]:
    """Carry a run out, or take it up where it stopped.

    Args:
        config: What to do.
        out: The run directory.
        watch: Called with the progress at the start and after each commit.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        UserError: What the user can mend, in one line.
    """
    protocol = protocol_of(config)
    directory = RunDir.open(out.resolve(), config)
    with directory.locked():
        found, info = prepare(directory, config)
        if directory.complete:
            parts = cut_into_shards(info["images"], info["shard_size"])
            if len(directory.committed()) == len(parts) and (directory.path / "metrics.json").is_file():
                log.info("%s is complete; nothing to do", out)
                return directory.read_json("metrics.json")
            directory.reopen()
        directory.clean()
        session = _Session(info, watch)
        _compute(directory, config, protocol, found, session)
        directory.write_json("run.json", session.info)
        size = config.model.size or found.network.preprocess.size
        metrics = session.time("finalize", lambda: finalize(directory, config, protocol, size, found.classes))
        session.time("report", lambda: write_report(directory))
        directory.write_json("run.json", session.info | {"failed": metrics["n_failed"]})
        directory.write("_SUCCESS", b"")
        return metrics


def _compute(directory: RunDir, config: Config, protocol: Protocol, found: Survey, session: _Session) -> None:
    """Take every shard that is not committed through the stages."""
    info = session.info
    shards = cut_into_shards(info["images"], info["shard_size"])
    committed = directory.committed()
    session.done = sum(one.stop - one.start for one in shards if one.index in committed)
    todo = [shard for shard in shards if shard.index not in committed]
    if not todo:
        return
    executor = _executor(config)
    device, workers = _place(config, executor)
    if "batch_size" not in info:  # Pinned with the first image, like the size of a shard.
        info["batch_size"] = _batch_size(config, device)
        directory.write_json("run.json", info)
    groups = plan(_stages(config, found.network, protocol, device))
    job = Job(directory, info["batch_size"], [one.name for one in found.classes])
    for report in executor.execute(groups, todo, job, workers, session.start):
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
        "layer": found.layer,
        "maps": ", ".join(config.explain.methods) + " of " + ", ".join(config.explain.targets),
        "protocol": f"{protocol.name} {fingerprint(protocol)}",
        "shards": len(cut_into_shards(len(found.records), shard_length(len(found.records), config.runtime.shard_size))),
    }


class _Session:
    """Counts and times of a run: what ``run.json`` says of earlier calls, and what this one adds."""

    def __init__(self, info: dict[str, Any], watch: Callable[[Progress], None]) -> None:
        self.info, self.watch = info, watch
        self.done = self.computed = self.failed = 0
        self._before = info.get("computed_images", 0), info.get("wall_seconds", 0.0)
        self._ready = time.perf_counter()

    def start(self) -> None:
        """The workers are ready."""
        self._ready = time.perf_counter()
        self._tell(0.0)

    def add(self, report: Report) -> None:
        """A shard is committed."""
        self.done += report.images
        self.computed += report.images
        self.failed += report.failed
        elapsed = time.perf_counter() - self._ready
        images, wall = self._before[0] + self.computed, self._before[1] + elapsed
        self.info |= {
            "computed_images": images,
            "wall_seconds": round(wall, 3),
            "images_per_second": round(images / wall, 3),
        }
        self._spend(report.seconds)
        self._tell(elapsed)

    def time(self, name: str, step: Callable[[], Any]) -> Any:
        """Run a step and note what it took."""
        started = time.perf_counter()
        result = step()
        self._spend({name: time.perf_counter() - started})
        return result

    def _spend(self, seconds: dict[str, float]) -> None:
        spent = total([self.info.get("seconds", {}), seconds])
        self.info["seconds"] = {name: round(value, 3) for name, value in sorted(spent.items())}

    def _tell(self, elapsed: float) -> None:
        self.watch(Progress(self.info["images"], self.done, self.computed, self.failed, elapsed))


def _executor(config: Config) -> ModuleType:
    if config.runtime.executor == "inline":
        from pipeline.executors import inline

        return inline
    from pipeline.executors import ray

    return ray


def _place(config: Config, executor: ModuleType) -> tuple[str, int]:
    """Device and number of model workers."""
    runtime = config.runtime
    cpus, gpus = executor.capacity()
    device = ("cuda" if gpus else "cpu") if runtime.device == "auto" else runtime.device
    if device == "cpu":
        return device, cpus if runtime.workers == "auto" else min(runtime.workers, cpus)
    if not gpus:
        raise ConfigurationError(f"runtime.device: {device}, but there is no GPU here; take auto or cpu")
    if runtime.executor == "inline":
        return device, min(4, cpus) if runtime.workers == "auto" else runtime.workers
    if runtime.gpus_per_worker > gpus:
        raise ConfigurationError(
            f"runtime.gpus_per_worker: {runtime.gpus_per_worker}, but the cluster has {gpus:g} GPUs"
        )
    most = int(gpus / runtime.gpus_per_worker)
    # Ray shows every worker its own GPU as the first one.
    return "cuda", most if runtime.workers == "auto" else min(runtime.workers, most)


def _batch_size(config: Config, device: str) -> int:
    size = config.runtime.batch_size
    return (32 if device == "cpu" else 64) if size == "auto" else size


def _stages(config: Config, network: Network, protocol: Protocol, device: str) -> list[Stage]:
    """The whole pipeline, in order."""
    from stages.classify.stage import Classify
    from stages.components import Components
    from stages.evaluate.stage import Evaluate
    from stages.explain.stage import Explain
    from stages.ingest.decode import Decode
    from stages.threshold import Threshold

    size = config.model.size or network.preprocess.size
    gpus = 0 if device == "cpu" else config.runtime.gpus_per_worker
    pixels = network.preprocess
    red, green, blue = (round(255 * value) for value in pixels.mean)
    return [
        Decode(size, config.model.fit, pixels.resample, pixels.crop_ratio, (red, green, blue)),
        Classify(
            config.model.spec,
            network.weights_sha256,
            config.explain.layer,
            size,
            device,
            config.runtime.precision,
            gpus,
        ),
        Explain(config.explain.methods, config.explain.targets, config.explain.flip, config.explain.scales, gpus),
        Threshold(protocol, size),
        Components(protocol, size, sweep=config.evaluate.sweep),
        Evaluate(protocol, size, tuple(config.evaluate.iou)),
    ]
