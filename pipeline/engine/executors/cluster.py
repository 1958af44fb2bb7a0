"""Connection to a Ray cluster whose workers import the same modules as this process."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
from ray.job_config import JobConfig

from pipeline.engine.import_path import import_path
from stages.errors import ConfigurationError, first_line

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


class _OwnPath(JobConfig):
    """Makes workers look for modules where this process does, and not in its current folder.

    Ray puts that folder before the standard library in every worker, unless it ships a working directory, which it
    learns from :meth:`_runtime_env_has_working_dir`. A Ray version that asks otherwise would add the folder again.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a quiet one here, unless this process has one.

    Raises:
        ConfigurationError: The cluster cannot be reached or started.
    """
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    # With Ray's client the driver is a process on the cluster, which reads the configuration before any path is set.
    config = JobConfig if address and address.startswith("ray://") else _OwnPath
    path = config(_py_driver_sys_path=import_path()[::-1])  # Workers put each before those that they have.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "job_config": path}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            ray.init("local", include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ConfigurationError(
            f"runtime.executor ray: cannot reach the cluster at RAY_ADDRESS={address}: {reason}"
            if address
            else f"runtime.executor ray: cannot start a local cluster: {reason}; use --executor inline"
        ) from None
