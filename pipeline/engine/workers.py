"""Which executor carries a run out, on which device and with how many workers."""

from __future__ import annotations

from types import ModuleType

from pipeline.config.sections import Config
from pipeline.store.info import RunInfo
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError


def executor_of(config: Config) -> ModuleType:
    """The module that ``runtime.executor`` names."""
    if config.runtime.executor == "inline":
        from pipeline.engine.executors import inline

        return inline
    from pipeline.engine.executors import ray

    return ray


def place(config: Config, executor: ModuleType) -> tuple[str, int | None]:
    """Device and number of model workers; None for as many as a cluster has room for, now and later.

    Raises:
        ConfigurationError: A GPU is asked for, or more of one, and there is none.
    """
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


def pin(directory: RunDir, info: RunInfo, config: Config, device: str) -> int:
    """The size of a batch; it and the kind of device are written down with the first image and kept from then on.

    A CPU and a GPU round differently: shards of one run come from one kind of device.

    Raises:
        ConfigurationError: The run was begun on another kind.
    """
    now = _kind(device)
    if info.batch_size is None:
        size = config.runtime.batch_size
        info.batch_size = (32 if now == "cpu" else 64) if size == "auto" else size
        info.device = now
        directory.write_info(info)
    if info.device not in (None, now):  # Runs of earlier versions do not say.
        fix = "set runtime.device=cpu" if info.device == "cpu" else "run it where there is a GPU"
        raise ConfigurationError(
            f"runtime.device: {directory} was begun on {info.device}, this would go on with {now}; {fix}, "
            "or choose another --out"
        )
    return info.batch_size


def _kind(device: str) -> str:
    """``cpu`` or ``cuda``, whichever of several."""
    return device.partition(":")[0]
