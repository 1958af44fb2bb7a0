"""``import pipeline`` costs nothing until something is asked of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pipeline

HEAVY = "torch", "ray", "pandas", "pyarrow", "numpy", "pydantic", "cv2", "PIL"
_CODE = f"""
import json, sys, time
started = time.perf_counter()
import pipeline
seconds = time.perf_counter() - started
print(json.dumps([seconds, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
ROOT = Path(__file__).resolve().parents[2]


def test_it_is_light():
    path = os.pathsep.join(entry for entry in sys.path if entry)
    tries = [
        json.loads(subprocess.check_output([sys.executable, "-c", _CODE], env={**os.environ, "PYTHONPATH": path}))
        for _ in range(3)
    ]
    assert [heavy for _, heavy in tries] == [[]] * 3
    assert min(seconds for seconds, _ in tries) < 0.3


def test_every_name_that_is_promised_is_there():
    assert set(dir(pipeline)) == set(pipeline.__all__)
    assert {getattr(pipeline, name) for name in ("load", "run", "explain", "compare", "Run", "Explained")}
    with pytest.raises(AttributeError, match="has no attribute 'loda'"):
        pipeline.loda  # noqa: B018


@pytest.mark.parametrize("package", ["pipeline", "stages"])
def test_type_checkers_are_told(package):
    assert (ROOT / package / "py.typed").is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
