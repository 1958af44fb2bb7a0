"""Connection to a Ray cluster whose workers import the same modules as this process."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
from ray.job_config import JobConfig

from pipeline.engine.executors.patience import bounded_start
from pipeline.engine.executors.reach import check_reachable, reason
from pipeline.engine.import_path import import_path
from pipeline.engine.interrupt import handling, interrupt
from stages.errors import ConfigurationError

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
    check_cluster()
    address = _address()
    # With Ray's client the driver is a process on the cluster, which reads the configuration before any path is set.
    config = JobConfig if address.startswith("ray://") else _OwnPath
    path = config(_py_driver_sys_path=import_path()[::-1])  # Workers put each before those that they have.
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        with bounded_start(), handling(interrupt):  # Ray takes SIGTERM for itself, and does not give it back.
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, job_config=path, **options)
    except Exception as error:  # Ray raises whatever it meets, and bare exceptions of its own.
        ray.shutdown()
        raise ConfigurationError(f"runtime.executor ray: {_failure(address, error)}") from None


def check_cluster() -> None:
    """Wait until the cluster that RAY_ADDRESS names, if it names one, answers.

    Raises:
        ConfigurationError: It does not.
    """
    if _address() != "local":
        check_reachable(_address())


def _address() -> str:
    return os.environ.get("RAY_ADDRESS") or "local"


def _failure(address: str, error: Exception) -> str:
    if address != "local":
        return f"cannot join the cluster at RAY_ADDRESS={address}: {reason(error)}"
    if isinstance(error, OSError) and "AF_UNIX" in str(error):
        name = next((one for one in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(one)), "RAY_TMPDIR")
        folder = os.environ.get(name, "")
        return (
            f"{name}={folder} is too long for the names of Ray's sockets; "
            "set RAY_TMPDIR to a shorter folder, such as /tmp, or use --executor inline"
        )
    return f"cannot start a local cluster: {reason(error)}; use --executor inline"
