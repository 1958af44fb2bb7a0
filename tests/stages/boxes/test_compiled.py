"""Compiled functions where nothing can be kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stages

CODE = """
import numpy as np
from stages.boxes.largest import largest_pixels
print(largest_pixels(np.eye(3, dtype=bool), 8).tolist())
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to give up the right to write everywhere")
def test_a_package_and_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    package = Path(shutil.copytree(Path(stages.__file__).parent, tmp_path / "stages", ignore=_CACHES))
    for folder, _, _ in os.walk(package):
        os.chmod(folder, 0o555)
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    environment = {"PATH": os.environ["PATH"], "HOME": "/proc", "PYTHONPATH": str(tmp_path)}
    command = [*powerless, sys.executable, "-P", "-c", CODE]
    result = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    for folder, _, _ in os.walk(package):
        os.chmod(folder, 0o755)
    assert result.stdout == "[0.0, 0.0, 3.0, 3.0]\n", result.stderr
    assert not list(package.rglob("*.nbi"))


_CACHES = shutil.ignore_patterns("__pycache__")
