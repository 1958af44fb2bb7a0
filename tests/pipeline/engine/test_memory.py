"""Batches that do not fit: real allocations that really fail, in processes whose memory is limited."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

_PROGRAM = """
import resource, sys
import numpy as np
import torch
from pipeline.engine.plan import process
from stages.batch import Answer, ImageError, Resources, ragged

class Hungry:
    reads, adds, resources = ("image_id",), ("sum",), Resources()

    def setup(self): pass

    def __call__(self, batch):
        batch.pop("label")  # as Explain takes columns out
        count = len(batch["image_id"])
        sizes.append(count)
        big = ALLOCATE(count * MEGABYTES * 2**20)
        big[:: 4096] = 1
        odd = {row: ImageError("hungry", "Odd", "odd") for row, one in enumerate(batch["image_id"]) if one == 5}
        return Answer(batch | {"sum": batch["image_id"] * 10}, odd, {"eat": 1.0}, {"graph": object()})

def virtual():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

sizes = []
batch = {"image_id": np.arange(7), "label": np.zeros(7), "uri": ragged(str(one) for one in range(7))}
process([Hungry()], {name: column[:1] for name, column in batch.items()})  # What is allocated once.
sizes.clear()
limit = virtual() + 512 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
outcome = process([Hungry()], batch)
print(sizes, outcome.rows["image_id"].tolist(), outcome.rows["sum"].tolist(), "label" in outcome.rows)
print([error[0] for error in outcome.errors], outcome.seconds["eat"], sorted(batch))
"""

ALLOCATORS = {
    "numpy": "lambda size: np.empty(size, np.uint8)",
    "torch": "lambda size: torch.empty(size, dtype=torch.uint8)",
}


def run(allocator: str, megabytes: int) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.replace("ALLOCATE", f"({ALLOCATORS[allocator]})").replace("MEGABYTES", str(megabytes))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_a_batch_that_does_not_fit_is_halved_once(allocator):
    """7 images of 100 MB in 512 MB: 700 do not fit, 400 and 300 do, in the order that they came."""
    done = run(allocator, 100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[7, 4, 3] [0, 1, 2, 3, 4, 6] [0, 10, 20, 30, 40, 60] False",
        "[5] 2.0 ['image_id', 'label', 'uri']",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_halves_that_do_not_fit_either_end_in_one_line(allocator):
    """7 images of 200 MB in 512 MB: not even 4 fit."""
    done = run(allocator, 200)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "stages.errors.OutOfMemoryError: runtime.batch_size: out of memory with 7 images, and with 4; "
        "set it to 2 and choose another --out, or ask for fewer explain.methods"
    )
