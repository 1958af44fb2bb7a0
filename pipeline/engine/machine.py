"""What this machine offers, and what this process takes of it."""

from __future__ import annotations

import os
import resource
import socket
import sys


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_name() -> str:
    """A name of this process that no other one of a cluster has: host:pid."""
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB."""
    try:
        # Linux hands getrusage's peak from parent to child, so a small child of a large process would look large.
        with open("/proc/self/status", encoding="ascii") as status:
            kibibytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kibibytes = most // 1024 if sys.platform == "darwin" else most
    return round(kibibytes / 1024, 1)
