"""Description of the machine's resources for runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.engine.allocator import keep_memory
from pipeline.engine.machine import computes_in_bf16, cores
from pipeline.engine.prepare import versions


def machine_facts() -> dict[str, Any]:
    """Versions, cores, memory, disk, GPUs and installed optional packages."""
    import torch

    from stages.classify.sources.lite import LITE0
    from stages.errors import UserError

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    shared = shutil.disk_usage("/dev/shm").total / 2**30 if Path("/dev/shm").is_dir() else 0
    try:
        demo = str(LITE0.weights_file())
    except UserError as error:
        demo = str(error)
    return versions() | {
        "cores": cores(),
        "memory": f"{memory:.1f} GiB",
        "/dev/shm": f"{shared:.1f} GiB (Ray's object store wants 30 % of the memory)",
        "disk free here": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB",
        "freed memory": (
            "is kept for the next batch (glibc's mallopt)"
            if keep_memory()
            else "goes back to the kernel: no glibc here"
        ),
        "bf16": (
            "in this machine's CPUs: runtime.precision=bf16 is faster"
            if computes_in_bf16()
            else "not in this machine's CPUs: slower than fp32 there"
        ),
        "gpus": ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())) or "none",
        "weights folder": torch.hub.get_dir(),
        "lite0 weights": demo,
    }
