import os
import subprocess
import sys

import pytest

from pipeline.engine.allocator import keep_memory

CODE = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from pipeline.engine.allocator import keep_memory
    keep_memory()
def batch():
    for size in (40, 60, 80):
        np.ones(size << 17)
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of five batches after the first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    environment |= {"NUMPY_MADVISE_HUGEPAGE": "0"}
    return int(subprocess.run([sys.executable, "-c", CODE, how], env=environment, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(not keep_memory(), reason="not glibc")
def test_memory_that_a_batch_frees_serves_the_next():
    assert faults("keep") < 0.2 * faults("give back")
