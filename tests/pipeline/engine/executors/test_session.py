"""The last words of a process that had a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = """
import os, signal, sys
from pipeline.engine.executors.session import Session
session = Session()
print(session.folder, flush=True)
{end}
os._exit(3)
"""


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1),
        ("session.farewell()", 0),
        ("session.close()", 0),
        ("session.farewell(); session.close()", 0),
    ],
)
def test_only_a_process_that_is_ended_leaves_words_to_another(tmp_path: Path, end: str, words: int) -> None:
    environment = os.environ | {"RAY_TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", CODE.format(end=end)]
    # Its end is that of all who hold its stderr.
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr.count("error: the run's process was killed, or ended by a failure of Ray's") == words
    last = time.monotonic() + 10
    while Path(result.stdout.strip()).exists() and time.monotonic() < last:
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())
