"""Connection to a Ray cluster whose workers import the same modules as this process."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.job_config import JobConfig

from pipeline.engine.executors.patience import bounded_start
from pipeline.engine.executors.reach import check_reachable, reason
from pipeline.engine.executors.session import Session
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

    Only processes of this user on this machine can reach one that is started here.

    Raises:
        ConfigurationError: The cluster cannot be reached or started.
    """
    if ray.is_initialized():
        return
    check_cluster()
    address = _address()
    try:
        with bounded_start(farewell), handling(interrupt):  # Ray takes SIGTERM for itself, and does not give it back.
            if address == "local":
                _start()
            else:
                _init(address)
    except Exception as error:  # Ray raises whatever it meets, and bare exceptions of its own.
        disconnect()
        raise ConfigurationError(f"runtime.executor ray: {_failure(address, error)}") from None


@atexit.register  # It runs before Ray's own, which leaves things behind.
def disconnect() -> None:
    """Leave the cluster, and end one that was started here with all that belongs to it."""
    for session in _sessions:
        session.wake()
    ray.shutdown()
    while _sessions:
        _sessions.pop().close()
        _read_settings()  # Those of the environment again.


def farewell() -> None:
    """Let the processes that clean up know that this one ends of itself: they have nothing to say."""
    for session in _sessions:
        session.farewell()


_sessions: list[Session] = []
"""That of the cluster that was started here; of earlier ones, too, where somebody else has shut down Ray."""


def _init(address: str, **options: Any) -> None:
    # With Ray's client the driver is a process on the cluster, which reads the configuration before any path is set.
    config = JobConfig if address.startswith("ray://") else _OwnPath
    path = config(_py_driver_sys_path=import_path()[::-1])  # Workers put each before those that they have.
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR, job_config=path, **options)


def _start() -> None:
    disconnect()
    session = Session()
    _sessions.append(session)
    with _private(session):
        _init("local", include_dashboard=False, _temp_dir=str(session.temporary))


@contextmanager
def _private(session: Session) -> Iterator[None]:
    """Let Ray listen on the loopback interface only, and serve only who knows the session's token.

    The processes that Ray starts learn it from the environment, this one from Ray's settings.
    """
    ours = {
        **session.environment,
        "RAY_AUTH_MODE": "token",
        # Ray binds to the loopback interface where it believes that there is no other node.
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
        # Else Ray lets this process wait for workers that it starts in advance: for ever, if one of them is killed.
        "RAY_prestart_worker_first_driver": "0",
    }
    names = [*ours, "RAY_AUTH_TOKEN"]  # The last goes before a file.
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(ours)
    ray_constants.ENABLE_RAY_CLUSTER = False
    _read_settings()
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def _read_settings() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


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
