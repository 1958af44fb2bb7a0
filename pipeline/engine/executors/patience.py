"""Limits for Ray's calls, which wait for ever for a server that was stopped or that hangs."""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import ray
from ray._private import ray_constants

from stages.errors import UserError

log = logging.getLogger("wsl_pipeline")

START = 90.0
"""Seconds that a cluster may take to start."""
ANSWER = {"local": 20.0, "joined": 50.0}
"""Seconds that a cluster may take to list its nodes; after 60, Ray would end this process with a trace.

The server of a cluster that others run may be restarted meanwhile.
"""


class ClusterLostError(UserError):
    """The cluster that a run is on has died or hangs."""


def check_alive() -> None:
    """Check the processes without which a cluster that this process has started does nothing; it costs no call of Ray.

    Raises:
        ClusterLostError: One has died. Ray would end this process without a word, or with a trace after a minute.
    """
    node: Any = ray._private.worker._global_node
    for kind, process in node.dead_processes() if node else []:
        if kind in _VITAL:
            raise ClusterLostError(f"Ray's process {kind} has died (exit code {process.returncode}){_WAY_OUT}")


def living_nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster that are alive.

    Raises:
        ClusterLostError: There is none, or the cluster does not answer.
    """
    nodes: list[dict[str, Any]] = []
    done = Event()

    def ask() -> None:
        with suppress(Exception):  # Ray raises whatever it meets: there is no node then either.
            nodes.extend(node for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
        done.set()

    Thread(target=ask, daemon=True).start()
    seconds = ANSWER["joined" if os.environ.get("RAY_ADDRESS") else "local"]
    if _overdue(done, seconds):
        raise ClusterLostError(f"the Ray cluster does not answer within {seconds:.0f} s{_WAY_OUT}")
    if not nodes:
        raise ClusterLostError(f"no node of the Ray cluster is alive{_WAY_OUT}")
    return nodes


_VITAL = {ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET}
_WAY_OUT = "; committed shards are safe; run the same command to resume"


@contextmanager
def bounded_start(farewell: Callable[[], None]) -> Iterator[None]:
    """End this process if Ray does not start within the block: nothing else ends a wait in native code.

    Args:
        farewell: Called before.
    """
    done = Event()

    def watch() -> None:
        if _overdue(done, START):
            log.error("error: Ray does not start within %.0f s; run the same command again", START)
            farewell()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
    with open(os.devnull, "w") as nowhere:
        # Native code may hold what the thread needs to speak.
        faulthandler.dump_traceback_later(1.2 * START, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            done.set()


def _overdue(done: Event, seconds: float) -> bool:
    # The second wait is for the case that it is this process that was stopped meanwhile.
    return not done.wait(seconds) and not done.wait(seconds / 10)
