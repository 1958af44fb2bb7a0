"""Choice of a run's executor, device and number of workers."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from pipeline.config.sections import RuntimeConfig
from pipeline.store.directory import Directory
from pipeline.store.info import RunInfo
from stages.errors import ConfigurationError

log = logging.getLogger("wsl_pipeline")

_FEW = 4
"""Cores that the threads of one process keep busy."""


def executor_of(runtime: RuntimeConfig) -> ModuleType:
    """The module that ``runtime.executor`` names."""
    if runtime.executor == "inline":
        from pipeline.engine.executors import inline

        return inline
    from pipeline.engine.executors import ray

    return ray


def place(runtime: RuntimeConfig, executor: ModuleType) -> tuple[str, int | None]:
    """Device and number of model workers; None for as many as a cluster has room for, now and later.

    Raises:
        ConfigurationError: The configuration asks for more GPUs, or a larger share, than there are.
    """
    cpus, gpus = executor.capacity()
    device = ("cuda" if gpus else "cpu") if runtime.device == "auto" else runtime.device
    if device != "cpu" and not gpus:
        raise ConfigurationError(f"runtime.device: {device}, but there is no GPU here; use auto or cpu")
    if runtime.executor == "ray":
        _check_shares(device, runtime.gpus_per_worker)
        if device != "cpu" and runtime.gpus_per_worker > gpus:
            raise ConfigurationError(
                f"runtime.gpus_per_worker: {runtime.gpus_per_worker}, but the cluster has {gpus:g} GPUs"
            )
        # Each Ray worker sees its own GPU as the first one.
        return _kind(device), None if runtime.workers == "auto" else runtime.workers
    if runtime.workers == "auto":
        return device, cpus
    return device, min(runtime.workers, cpus) if device == "cpu" else runtime.workers


def advise(runtime: RuntimeConfig, executor: ModuleType, device: str) -> None:
    """Say what of the machine the inline executor leaves idle beside a GPU."""
    if runtime.executor != "inline" or device == "cpu":
        return
    cpus, gpus = executor.capacity()
    if device == "cuda" and gpus > 1:
        log.warning("runtime.executor: inline uses 1 of %d GPUs; ray uses all of them", gpus)
    if cpus > _FEW:
        # One H100 and 16 cores: 280 images/s, and 2,600 with Ray.
        log.warning("runtime.executor: inline decodes in one process, which keeps a GPU waiting; ray uses all cores")


def _check_shares(device: str, gpus_per_worker: float) -> None:
    """Check that workers and GPUs go together on Ray, which gives every worker its GPU.

    Raises:
        ConfigurationError: They do not.
    """
    if ":" in device:
        raise ConfigurationError(
            f"runtime.device: Ray gives every worker a GPU; use cuda instead of {device}, or choose the GPUs with "
            "CUDA_VISIBLE_DEVICES before Ray starts"
        )
    if device != "cpu" and abs(gpus_per_worker * round(1 / gpus_per_worker) - 1) > 0.02:
        raise ConfigurationError(
            f"runtime.gpus_per_worker: {gpus_per_worker:g} is not one GPU divided by a number of workers; use 1, 0.5 "
            "or 0.25, since a worker uses one GPU at most"
        )


def pin(directory: Directory[Any], info: RunInfo, runtime: RuntimeConfig, device: str) -> int:
    """Fix the batch size, which is returned, and the kind of device for the rest of the run.

    CPUs and GPUs round differently, so all shards of a run come from one kind of device.

    Raises:
        ConfigurationError: The run was begun on another kind of device.
    """
    now = _kind(device)
    check_device(directory, info, device)
    if info.batch_size is None:
        size = runtime.batch_size
        info.batch_size = (32 if now == "cpu" else 128) if size == "auto" else size
        info.device = now
        directory.write_info(info)
    return info.batch_size


def check_device(directory: Directory[Any], info: RunInfo, device: str) -> None:
    """Check that a run goes on with the kind of device that it was begun on.

    Raises:
        ConfigurationError: It was begun on another kind.
    """
    now = _kind(device)
    if info.device not in (None, now):  # Runs of earlier versions do not record it.
        fix = "set runtime.device=cpu" if info.device == "cpu" else "run it where there is a GPU"
        raise ConfigurationError(
            f"runtime.device: {directory} was begun on {info.device}, this would go on with {now}; {fix}, "
            "or choose another --out"
        )


def _kind(device: str) -> str:
    """Kind of a device: ``cpu`` or ``cuda``, without a number."""
    return device.partition(":")[0]
