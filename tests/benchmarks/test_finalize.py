"""Finalize takes no more memory for many images than for few, beyond the counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """\
import sys, time
from pathlib import Path
from pipeline.engine.machine import peak_memory
from tests.benchmarks.synthetic import finalize_synthetic
from tests.benchmarks.synthetic import write_synthetic

out, images = Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "write":
    write_synthetic(out, images)
else:
    started = time.perf_counter()
    finalize_synthetic(out)
    print(time.perf_counter() - started, peak_memory())
"""


def _measure(out: Path, images: int) -> tuple[float, float]:
    """Seconds and peak resident MiB of a process that finalizes so many images."""
    for step in ("write", "finalize"):
        command = [sys.executable, "-c", _SCRIPT, str(out), str(images), step]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


@pytest.mark.benchmark
def test_memory_does_not_grow_with_images(tmp_path: Path) -> None:
    few, many = _measure(tmp_path / "few", 1_000), _measure(tmp_path / "many", 50_000)
    print(
        f"\nfinalize: 1,000 images {few[0]:.1f} s, {few[1]:.0f} MiB; 50,000 images {many[0]:.1f} s, {many[1]:.0f} MiB"
    )
    assert many[1] - few[1] < 150
    assert json.loads((tmp_path / "many" / "metrics.json").read_text())["n_images"] == 50_000
