"""A try to join a Ray cluster, in a process of its own: Ray cannot be interrupted while it waits for an answer.

``python -m pipeline.engine.executors.reach ADDRESS`` ends with 0 where the cluster answers. Otherwise the reason is
the last line on stdout.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from functools import cache

from pipeline.engine.import_path import import_path
from stages.errors import ConfigurationError

log = logging.getLogger("wsl_pipeline")

PATIENCE = 30.0
"""Seconds that a cluster may take to answer."""
QUIET = 2.0
"""Seconds after which the wait is announced."""


@cache
def check_reachable(address: str) -> None:
    """Wait until the cluster at an address answers; asked once in a process.

    Raises:
        ConfigurationError: It does not, or not within :data:`PATIENCE` seconds.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(import_path())}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=environment,
        text=True,
        start_new_session=True,  # Ctrl-C is this process's, which ends that one.
    )
    try:
        output = _output(process, address)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        reason = output.strip().splitlines()[-1:] or ["the process that tried it died"]
        raise ConfigurationError(f"{_named(address)} cannot be reached: {reason[0]}; {_WAYS_OUT}")


_WAYS_OUT = "correct or unset RAY_ADDRESS, start the cluster, or use --executor inline"


def _named(address: str) -> str:
    return f"runtime.executor ray: the cluster at RAY_ADDRESS={address}"


def _output(process: subprocess.Popen[str], address: str) -> str:
    started = time.monotonic()
    try:
        return process.communicate(timeout=QUIET)[0]
    except subprocess.TimeoutExpired:
        log.warning("waiting up to %.0f s for the Ray cluster at RAY_ADDRESS=%s to answer", PATIENCE, address)
    try:
        return process.communicate(timeout=PATIENCE - (time.monotonic() - started))[0]
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{_named(address)} does not answer within {PATIENCE:.0f} s; {_WAYS_OUT}") from None


def reason(error: Exception) -> str:
    """What Ray says of a failure, on one line; of a traceback within it, the last line."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return " ".join(lines[-1:] if "Traceback" in str(lines) else lines) or type(error).__name__


def _main() -> None:
    import ray

    try:
        ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        print(reason(error))
        sys.exit(1)


if __name__ == "__main__":
    _main()
