"""Resources of this machine, and their use by this process."""

from __future__ import annotations

import os
import resource
import socket
import sys


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def computes_in_bf16() -> bool:
    """Whether this machine's CPUs multiply in bfloat16; others imitate it, which is slower than float32."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as description:
            flags = next((line for line in description if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())


def process_name() -> str:
    """Name of this process, unique in a cluster: host:pid."""
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_memory() -> float:
    """Peak resident memory of this process so far, in MiB."""
    try:
        # Linux hands getrusage's peak from parent to child, so a small child of a large process would look large.
        with open("/proc/self/status", encoding="ascii") as status:
            kibibytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kibibytes = most // 1024 if sys.platform == "darwin" else most
    return round(kibibytes / 1024, 1)
