"""The page."""
from __future__ import annotations
from pathlib import Path
def write_report(run, dest: Path | None = None) -> Path:
    run.write("report/index.html", b"")
    return dest
