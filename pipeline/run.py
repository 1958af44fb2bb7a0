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
from pipeline.prepare import prepare, survey
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
    directory = RunDir.open(out, config)
    if directory.complete:
        log.info("%s is complete; nothing to do", out)
        return directory.read_json("metrics.json")
    directory.clean()
    network, info = prepare(directory, config)
    size = config.model.size or network.preprocess.size
    executor = _executor(config)
    device, workers = _place(config, executor)
    groups = plan(_stages(config, network, protocol, size, device))
    job = Job(directory, _batch_size(config, device), [one.name for one in network.classes])
    classes = network.classes
    del network  # The workers load their own.

    shards = cut_into_shards(info["images"], info["shard_size"])
    committed = directory.committed()
    session = _Session(info["images"], sum(one.stop - one.start for one in shards if one.index in committed), watch)
    todo = [shard for shard in shards if shard.index not in committed]
    warnings: list[str] = []
    for report in executor.execute(groups, todo, job, workers, session.start) if todo else ():
        before = session.done
        session.add(report)
        if before < min(PROBE_IMAGES, session.images) <= session.done:
            warnings = probe_labels(directory)
            for warning in warnings:
                log.warning("%s", warning)

    metrics = session.time("finalize", lambda: finalize(directory, config, protocol, size, classes))
    session.time("report", lambda: write_report(directory))
    directory.write_json("run.json", info | session.summary() | {"failed": metrics["n_failed"], "warnings": warnings})
    directory.write("_SUCCESS", b"")
    return metrics


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
        "network": f"{config.model.spec}, {found.network.num_outputs} classes",
        "layer": found.network.layer if config.explain.layer == "last" else config.explain.layer,
        "maps": ", ".join(config.explain.methods) + " of " + ", ".join(config.explain.targets),
        "protocol": f"{protocol.name} {fingerprint(protocol)}",
        "shards": len(cut_into_shards(len(found.records), shard_length(len(found.records), config.runtime.shard_size))),
    }


class _Session:
    """Counts and times of this call."""

    def __init__(self, images: int, done: int, watch: Callable[[Progress], None]) -> None:
        self.images, self.done, self.watch = images, done, watch
        self.computed = self.failed = 0
        self.seconds: dict[str, float] = {}
        self.ready = self.last = time.perf_counter()

    def start(self) -> None:
        """The workers are ready."""
        self.ready = self.last = time.perf_counter()
        self._tell()

    def add(self, report: Report) -> None:
        """A shard is committed."""
        self.done += report.images
        self.computed += report.images
        self.failed += report.failed
        self.seconds = total([self.seconds, report.seconds])
        self.last = time.perf_counter()
        self._tell()

    def _tell(self) -> None:
        self.watch(Progress(self.images, self.done, self.computed, self.failed, self.last - self.ready))

    def time(self, name: str, step: Callable[[], Any]) -> Any:
        """Run a step and note what it took."""
        started = time.perf_counter()
        result = step()
        self.seconds[name] = time.perf_counter() - started
        return result

    def summary(self) -> dict[str, Any]:
        """For ``run.json``: what this call computed, since a resumed run was computed in several."""
        elapsed = self.last - self.ready
        return {
            "computed_images": self.computed,
            "images_per_second": round(self.computed / elapsed, 3) if self.computed else None,
            "seconds": {name: round(spent, 3) for name, spent in sorted(self.seconds.items())},
        }


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
    if device.startswith("cuda") and not gpus:
        raise ConfigurationError(f"runtime.device: {device}, but there is no GPU here; take auto or cpu")
    if runtime.workers != "auto":
        return device, runtime.workers
    on_gpu = device != "cpu" and runtime.executor == "ray"
    return device, max(1, int(gpus / runtime.gpus_per_worker) if on_gpu else cpus)


def _batch_size(config: Config, device: str) -> int:
    size = config.runtime.batch_size
    return (32 if device == "cpu" else 128) if size == "auto" else size


def _stages(config: Config, network: Network, protocol: Protocol, size: int, device: str) -> list[Stage]:
    """The whole pipeline, in order."""
    from stages.classify.stage import Classify
    from stages.components import Components
    from stages.evaluate.stage import Evaluate
    from stages.explain.stage import Explain
    from stages.ingest.decode import Decode
    from stages.threshold import Threshold

    gpus = 0 if device == "cpu" else config.runtime.gpus_per_worker
    pixels = network.preprocess
    red, green, blue = (round(255 * value) for value in pixels.mean)
    return [
        Decode(size, config.model.fit, pixels.resample, pixels.crop_ratio, (red, green, blue)),
        Classify(config.model.spec, config.explain.layer, size, device, config.runtime.precision, gpus),
        Explain(config.explain.methods, config.explain.targets, gpus),
        Threshold(protocol, size),
        Components(protocol, size, sweep=config.evaluate.sweep),
        Evaluate(protocol, size, tuple(config.evaluate.iou)),
    ]
